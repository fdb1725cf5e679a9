"""Signal check: find outputs that quantization has destroyed, with the file and one or two images.

The most frequent failures are visible without measuring accuracy: scores that share a scale with
pixel values have too few steps, outputs are constant, or outputs are at the limits of their type.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.steps.lib.parity import tolerances
from buildsys.steps.lib.parity.output_figures import CALIBRATE, RAW_HEAD, TRAIN

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An output as declared in the file; shape with the batch axis, one scale (None for floats)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None


def joint(edges: tuple[Edge, ...], cells: int) -> tuple[Edge, ...]:
    """Return outputs that hold boxes and scores together: [1, 5 or more, cells], or transposed.
    Transposed ones count only if there is no other output, because a raw head's keypoints look the
    same.
    """
    found = [edge for edge in edges if len(edge.shape) == 3]
    return tuple(
        edge
        for edge in found
        if (edge.shape[2] == cells and edge.shape[1] > 4)
        or (len(edges) == 1 and edge.shape[1] == cells and edge.shape[2] > 4)
    )


def steps(edge: Edge) -> float | None:
    """Return how many steps a probability has in this output; None for floats."""
    return 1 / edge.scale if edge.scale else None


def shared_scale(edges: tuple[Edge, ...], cells: int, cure: str = RAW_HEAD) -> list[str]:
    """Return a sentence per output in which a probability has too few steps."""
    problems = []
    for edge in joint(edges, cells):
        count = steps(edge)
        if count is not None and count < tolerances.SCORE_STEPS:
            problems.append(
                f"{edge.name} {list(edge.shape)} holds boxes and scores in one {edge.dtype} tensor"
                f" with the scale {edge.scale:.3g}: a score from 0 to 1 has {count:.1f} steps (at"
                f" least {tolerances.SCORE_STEPS}), so nothing is detected. Cure: {cure}."
            )
    return problems


def not_numbers(name: str, values: "np.ndarray") -> list[str]:
    """Return a sentence if floats are NaN or infinite."""
    import numpy as np

    if values.dtype.kind != "f" or np.isfinite(values).all():
        return []
    share = 1 - float(np.isfinite(values).mean())
    return [
        f"{name}: {share:.0%} of the values are NaN or infinite. Cure: look for a division or an"
        " exponential that overflows in float16; keep float32."
    ]


def standstill(name: str, values: "np.ndarray", axis: int, cure: str = RAW_HEAD) -> list[str]:
    """Return a sentence if an output is the same in every cell (axis `axis`) of every image (axis
    0). `cure`: the advice in it.
    """
    if values.shape[0] * values.shape[axis] < 2:
        return []
    if (values.max((0, axis)) != values.min((0, axis))).any():
        return []
    value = f"{values.flat[0]:.3g}" if values.dtype.kind == "f" else f"{int(values.flat[0])}"
    return [
        f"{name} is constant: the same in all {values.shape[axis]} cells of {values.shape[0]}"
        f" images ({value} {values.dtype}). Cure: {cure}."
    ]


def saturated(name: str, values: "np.ndarray") -> tuple[float, list[str]]:
    """Return the share of integers at one limit of their type, and a sentence if it is too large."""
    import numpy as np

    if values.dtype.kind == "f":
        return 0.0, []
    limits = np.iinfo(values.dtype)
    share = max(float((values == limits.min).mean()), float((values == limits.max).mean()))
    if share <= tolerances.SATURATED:
        return share, []
    return share, [
        f"{name} is saturated: {share:.0%} of its values stand at a limit of {values.dtype}. Cure:"
        f" {TRAIN}; else {CALIBRATE}."
    ]
