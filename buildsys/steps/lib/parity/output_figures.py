"""Compute one figure per output for a pair of models, with its limit and a sentence if it is
exceeded.

Boxes, scores and keypoints are judged separately. The decoded head is split first, because
otherwise its pixel values would dominate its scores.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from buildsys.spec import GRID, STRIDES
from buildsys.steps.lib.parity import tolerances

if TYPE_CHECKING:
    import numpy as np

RAW_HEAD = (
    "export the raw head, as buildsys does from a .pt file without `export.head`: it gives boxes,"
    " scores and keypoints a scale each; or let the network put out boxes normalized to 0..1"
)
"""The advice for a head that int8 cannot represent; all messages use these words."""

_MORE_DIGITS = (
    "keep more digits, if the target has a pipeline for that (`scheme: int16x8` or float16)"
)
"""The advice for heads that already give each kind of value its own scale."""
_CURES = {
    "yolox-decoded": "export boxes, objectness and classes apart (`export: {head: split}`), which"
    " gives each a scale of its own",
    "yolox-split": _MORE_DIGITS,
    "raw": _MORE_DIGITS,
    "split": _MORE_DIGITS,
}
_CURES["yolox-concatenated"] = _CURES["yolox-decoded"]

DECODED = "detections"
"""The canonical name of the decoded head's one output."""
_JOINT = (DECODED, "predictions")
"""Outputs that hold all values in one tensor."""

CALIBRATE = "calibrate on more images of the real scene"
TRAIN = "if the checkpoint itself finds nothing, train longer"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured value; `limit` is None if it is not judged. `value` is None if it is NaN, or, of
    a figure that passes, if there was nothing to compare.
    """

    kind: str
    figure: str
    value: float | None
    limit: float | None
    passed: bool

    def as_json(self) -> dict[str, Any]:
        """Return its JSON form in the verdict."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Part:
    """Values of one kind: box | score | keypoint | other; [n, ...] real numbers.

    `logits`: scores before the sigmoid.
    """

    name: str
    kind: str
    values: "np.ndarray"
    logits: bool = False


PROBABILITIES = ("scores", "probabilities", "objectness", "classes")
"""Outputs after their sigmoid or softmax."""
_EXACT = 120.0
"""Decibels for an output without any noise, relative to a variance of one."""
_CELLS = sum((GRID // stride) ** 2 for stride in STRIDES)
"""Cells of GRID x GRID pixels; every number of cells is a multiple of it."""


def head_cure(head: str) -> str:
    """Return what to change if a head does not keep its values."""
    return _CURES.get(head, RAW_HEAD)


def still_cure(head: str) -> str:
    """Return what to change if an output is constant: nothing was learned, or quantization lost it."""
    return f"{TRAIN}; else {CALIBRATE}, or {head_cure(head)}"


def has_objectness(shape: tuple[int, ...], classes: int) -> bool:
    """Return whether a joint output is YOLOX's: [n, N, 5 + classes], one row per cell, objectness
    at index 4.

    The other joint outputs are [n, 4 + classes + more, N].
    """
    return len(shape) == 3 and shape[2] == 5 + classes and shape[1] % _CELLS == 0


def split(name: str, values: "np.ndarray", classes: int) -> tuple[Part, ...]:
    """Split an output, by its canonical name, into parts of one kind.

    `values` of a joint output: [n, 4 + classes + k * dims, N], or as `has_objectness` says.
    """
    if name in _JOINT and has_objectness(values.shape, classes):
        boxes, scores = values[..., :4], values[..., 4:5] * values[..., 5:]
        return (
            Part(name=f"{name} (boxes)", kind="box", values=boxes),
            Part(name=f"{name} (scores)", kind="score", values=scores),
        )
    if name == DECODED:
        spans = (
            ("box", "boxes", 0, 4),
            ("score", "scores", 4, 4 + classes),
            ("keypoint", "keypoints", 4 + classes, None),
        )
        parts = [
            Part(name=f"{name} ({plural})", kind=kind, values=values[:, start:end])
            for kind, plural, start, end in spans
        ]
        return tuple(part for part in parts if part.values.shape[1])
    if name in PROBABILITIES:
        return (Part(name=name, kind="score", values=values, logits=False),)
    kinds = {"box": "box", "cls": "score", "key": "keypoint"}
    kind = kinds.get(name[:3], "other")
    return (Part(name=name, kind=kind, values=values, logits=kind == "score"),)


def closeness(reference: Part, found: Part) -> Figure:
    """Return the largest difference, in the output's unit, of the row that is closest to its limit."""
    value, limit = closest(reference.values, found.values)
    return _at_most(reference.kind, "largest difference", value, float(f"{limit:.4g}"))


def closest(reference: "np.ndarray", found: "np.ndarray") -> tuple[float, float]:
    """Return difference and limit of the row that is closest to its limit (see `tolerances.CLOSE`).

    A row of [n, a, b] has one index on the shorter axis: all cells' x, or one class's scores; any
    other array is one row. NaN is closer than any number.
    """
    import numpy as np

    axes = tuple(range(reference.ndim))
    if reference.ndim == 3:
        row = 1 if reference.shape[1] <= reference.shape[2] else 2
        axes = tuple(axis for axis in axes if axis != row)
    differences = np.abs(found.astype(np.float64) - reference).max(axes)
    limits = np.maximum(np.abs(reference).max(axes) * tolerances.CLOSE_SHARE, tolerances.CLOSE)
    worst = int(np.argmax(differences / limits))
    return float(differences.flat[worst]), float(limits.flat[worst])


def signal(reference: Part, found: Part, decibels: float | None) -> Figure:
    """Return scores as the mean difference of probability where something is detected, and other
    values in dB.

    Signal to noise: 10 log10 of the reference's variance over the mean squared difference.
    `decibels` None: no limit.
    """
    import numpy as np

    if reference.kind == "score":
        name, error = "mean difference of probability", _probability_error(reference, found)
        if error is None:
            return Figure(kind="score", figure=name, value=None, limit=None, passed=True)
        return _at_most("score", name, error, None if decibels is None else tolerances.PROBABILITY)
    noise = float(np.mean((found.values.astype(np.float64) - reference.values) ** 2))
    value = 10 * float(np.log10(max(float(reference.values.var()), 1e-12) / max(noise, 1e-12)))
    value = value if noise else max(value, _EXACT)  # an unchanged constant is not a loss
    rounded = number(value)
    passed = rounded is not None and (decibels is None or rounded >= decibels)
    return Figure(
        kind=reference.kind,
        figure="signal to noise, dB",
        value=rounded,
        limit=decibels,
        passed=passed,
    )


def steps_apart(kind: str, reference: "np.ndarray", found: "np.ndarray") -> Figure:
    """Return the largest difference of stored integers; for other values the number that differ."""
    import numpy as np

    if np.issubdtype(reference.dtype, np.integer):
        value = float(np.abs(reference.astype(np.int64) - found).max(initial=0))
        return _at_most(kind, "largest difference, steps", value, float(tolerances.KERNEL_STEPS))
    value = float((reference != found).sum())
    return _at_most(kind, "unequal values", value, 0.0)


def describe(name: str, figure: Figure) -> str:
    """Return an exceeded figure as the middle of a sentence."""
    if figure.value is None:
        return f"{name} has values that are NaN or infinite"
    limit = figure.limit or 0.0
    if figure.figure == "largest difference":
        return f"{name} differs by {figure.value:.4g} (at most {limit:g})"
    if figure.figure == "largest difference, steps":
        return f"{name} differs by {figure.value:.0f} steps of its integers (at most {limit:.0f})"
    if figure.figure == "unequal values":
        return f"{name} differs in {figure.value:.0f} values (none may)"
    if figure.kind == "score":
        value = distinct(figure.value, limit, 2)
        return f"{name} differs by {value} in probability (at most {limit:g})"
    value = distinct(figure.value, limit, 1)
    return f"{name} keeps {value} dB of signal (at least {limit:g})"


def distinct(value: float, limit: float, decimals: int) -> str:
    """Return a figure with these decimals, or with four significant digits if it would equal its
    limit.
    """
    text = f"{value:.{decimals}f}"
    return f"{value:.4g}" if float(text) == limit else text


def _at_most(kind: str, figure: str, value: float, limit: float | None) -> Figure:
    rounded = number(value)
    passed = rounded is not None and (limit is None or rounded <= limit)
    return Figure(kind=kind, figure=figure, value=rounded, limit=limit, passed=passed)


def number(value: float) -> float | None:
    """Return four significant digits, which are judged and shown, because machines differ beyond
    them; None for NaN.
    """
    import math

    return float(f"{value:.4g}") if math.isfinite(value) else None


def _probability_error(reference: Part, found: Part) -> float | None:
    """Return the mean difference of probability over the cells where either model detects
    something; None if there is no such cell.
    """
    import numpy as np

    wanted, got = (_probabilities(part) for part in (reference, found))
    seen = (wanted > tolerances.SEEN) | (got > tolerances.SEEN) | np.isnan(wanted) | np.isnan(got)
    return float(np.abs(wanted - got)[seen].mean()) if seen.any() else None


def _probabilities(part: Part) -> "np.ndarray":
    import numpy as np

    values = part.values.astype(np.float64)
    return 1 / (1 + np.exp(-values)) if part.logits else values
