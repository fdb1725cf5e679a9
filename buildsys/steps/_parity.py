"""Comparison of a conversion with its input, output by output, on the same pictures."""

from typing import TYPE_CHECKING

from buildsys.steps._progress import fail

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
    stage: str,
    reference: "dict[str, np.ndarray]",
    found: "dict[str, np.ndarray]",
    tolerance: float,
) -> dict[str, float]:
    """Fail when an output differs by more than `tolerance` (absolute, in the output's unit).

    Returns the largest difference per output.
    """
    import numpy as np

    worst = {name: float(np.abs(found[name] - value).max()) for name, value in reference.items()}
    bad = {name: value for name, value in worst.items() if not value <= tolerance}
    if bad:
        listed = ", ".join(f"{name} by {value:.4g}" for name, value in sorted(bad.items()))
        fail(
            f"{stage} changed what the model computes: {listed}; at most {tolerance:g} is allowed."
        )
    return worst


def require_signal(
    stage: str, reference: "dict[str, np.ndarray]", found: "dict[str, np.ndarray]", decibels: float
) -> dict[str, float]:
    """Fail when an output carries too little of the reference.

    Class logits (names starting with `cls`) are judged as probabilities, where either side sees
    something: far below zero a large error in a logit changes nothing. Other outputs are judged by
    signal to noise: 10 log10 of the reference's variance over the mean squared difference.
    Returns the figure per output: mean difference of probability, or decibels.
    """
    import numpy as np

    figures, bad = {}, []
    for name, value in reference.items():
        if name.startswith("cls"):
            figures[name] = _probability_error(value, found[name])
            if not figures[name] <= _MOST_PROBABILITY_ERROR:
                bad.append(f"{name} differs by {figures[name]:.2f} in probability")
            continue
        noise = float(np.mean((found[name].astype(np.float64) - value) ** 2))
        figures[name] = 10 * float(np.log10(max(float(value.var()), 1e-12) / max(noise, 1e-12)))
        if not figures[name] >= decibels:
            bad.append(f"{name} keeps {figures[name]:.1f} dB of signal (at least {decibels:g})")
    if bad:
        fail(
            f"{stage} lost too much: {', '.join(sorted(bad))}. Calibrate on more pictures of the"
            " real scene, or export the raw head (boxes and scores in one int8 tensor share one"
            " scale)."
        )
    return figures


_MOST_PROBABILITY_ERROR = 0.25
_SEEN = 0.2


def _probability_error(reference: "np.ndarray", found: "np.ndarray") -> float:
    """Mean difference of probability over the cells where either model sees something."""
    import numpy as np

    wanted, got = (1 / (1 + np.exp(-x.astype(np.float64))) for x in (reference, found))
    seen = (wanted > _SEEN) | (got > _SEEN)
    return float(np.abs(wanted - got)[seen].mean()) if seen.any() else 0.0
