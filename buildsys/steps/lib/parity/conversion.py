"""Comparison of a conversion with its input, output by output, on the same pictures."""

from typing import TYPE_CHECKING

from buildsys.steps.lib.parity import output_figures, tolerances
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import numpy as np


def match_outputs(
    wanted: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]"
) -> dict[str, str]:
    """Which found output is which wanted one, by shape and then by value.

    Converters rename and reorder outputs; values on a real picture tell them apart for certain.
    Returns {wanted name: found name}; ends the step when a shape has no counterpart.
    """
    import numpy as np

    left, pairs = dict(found), {}
    for name, reference in wanted.items():
        candidates = [key for key, value in left.items() if value.shape == reference.shape]
        if not candidates:
            shapes = {key: value.shape for key, value in left.items()}
            fail(f"the converted model has no output like {name} {reference.shape}; left: {shapes}")
        errors = {key: float(np.abs(left[key] - reference).max()) for key in candidates}
        pairs[name] = min(errors, key=lambda key: errors[key])
        del left[pairs[name]]
    if left:
        fail(f"the converted model has outputs that its input lacks: {sorted(left)}")
    return pairs


def require_close(
    stage: str, reference: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]"
) -> dict[str, float]:
    """Fail when an output, by its canonical name, differs by more than two float forms may.

    The decoded head is judged as pixels as a whole: its rows are told apart in the parity ladder.
    Returns the largest difference per output.
    """
    import numpy as np

    worst = {name: float(np.abs(found[name] - value).max()) for name, value in reference.items()}
    bad = []
    for name, value in sorted(worst.items()):
        limit = tolerances.CLOSE_PIXELS if name == output_figures.DECODED else tolerances.CLOSE
        if not value <= limit:
            bad.append(f"{name} by {value:.4g} (at most {limit:g})")
    if bad:
        fail(f"{stage} changed what the model computes: {', '.join(bad)}.")
    return worst


def measure_signal(
    reference: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]", classes: int
) -> dict[str, float | None]:
    """What an output keeps of the reference: boxes, scores and keypoints apart.

    Per output mean difference of probability, or decibels, as `output_figures.signal` has them.
    """
    figures: dict[str, float | None] = {}
    for name, value in reference.items():
        pairs = zip(
            output_figures.split(name, value, classes),
            output_figures.split(name, found[name], classes),
            strict=True,
        )
        for wanted, got in pairs:
            figures[wanted.name] = output_figures.signal(wanted, got, None).value
    return figures
