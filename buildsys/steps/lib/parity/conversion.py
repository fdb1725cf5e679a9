"""Compare a converted model with the original, output by output, on the same images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.steps.lib.parity import output_figures
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Match:
    """A converted output that matches an original one; `turned`: [n, h, w, c] instead of [n, c, h,
    w].
    """

    key: str
    turned: bool = False


def match_outputs(
    wanted: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]"
) -> dict[str, Match]:
    """Match converted outputs to the original ones, by shape and then by value.

    Converters rename and reorder outputs, and move channels to the end of four axes; values on a
    real image identify them, even if height, width and channels are equal. Returns {original name:
    match}; ends the step if a shape has no counterpart.
    """
    import numpy as np

    left, pairs = dict(found), {}
    for name, reference in wanted.items():
        errors = {
            Match(key=key, turned=turned): float(np.abs(form - reference).max())
            for key, value in left.items()
            for turned, form in ((False, value), (True, channels_first(value)))
            if form.shape == reference.shape and (not turned or value.ndim == 4)
        }
        if not errors:
            shapes = {key: value.shape for key, value in left.items()}
            fail(f"the converted model has no output like {name} {reference.shape}; left: {shapes}")
        pairs[name] = min(errors, key=lambda match: errors[match])
        del left[pairs[name].key]
    if left:
        fail(f"the converted model has outputs that its input lacks: {sorted(left)}")
    return pairs


def channels_first(values: "np.ndarray") -> "np.ndarray":
    """Convert [n, h, w, c] to [n, c, h, w]; any other number of axes is unchanged."""
    return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values


def align(reference: "np.ndarray", found: "np.ndarray") -> "np.ndarray":
    """Return `found` in the reference's axis order, if it can only be the same values with channels
    last.
    """
    import numpy as np

    turned = channels_first(found)
    if found.ndim != 4 or turned.shape != reference.shape:
        return found
    if found.shape != reference.shape:
        return turned
    errors = [float(np.abs(form - reference).max()) for form in (found, turned)]
    return found if errors[0] <= errors[1] else turned


def require_close(
    stage: str, reference: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]"
) -> dict[str, float]:
    """End the step if an output differs by more than two float forms of a network may. Returns the
    largest difference per output, by canonical name.
    """
    import numpy as np

    worst, bad = {}, []
    for name, value in sorted(reference.items()):
        worst[name] = float(np.abs(found[name] - value).max())
        difference, limit = output_figures.closest(value, found[name])
        if not difference <= limit:
            bad.append(f"{name} by {difference:.4g} (at most {limit:.4g})")
    if bad:
        fail(f"{stage} changed what the model computes: {', '.join(bad)}.")
    return worst
