"""Oriented boxes: decoding, overlap and suppression, as Ultralytics defines them.

A box is x, y, width, height in pixels and an angle in radians; boxes are compared as Gaussians, so
that different descriptions of the same box are equal: overlap is the probabilistic IoU of Llerena
et al. (arXiv 2106.06072), as in Ultralytics `batch_probiou` (utils/metrics.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.steps.lib.heads import yolov8_decoding

if TYPE_CHECKING:
    import numpy as np

MEASURED = yolov8_decoding.Choice(confidence=0.01, every_class=True)
"""Thresholds for measuring accuracy: Ultralytics validates oriented boxes from 0.01, not 0.001."""
_BLOCK = 256
"""Number of boxes whose overlaps with all better ones are computed at once: all overlaps of
thousands of boxes would need gigabytes.
"""
_EPSILON = 1e-7


@dataclass(frozen=True, kw_only=True)
class Turned:
    """Parallel arrays, best first: boxes [n, 5] x y w h angle, scores [n], classes [n]."""

    boxes: "np.ndarray"
    scores: "np.ndarray"
    classes: "np.ndarray"


def decode_raw(
    outputs: "dict[str, np.ndarray]", height: int, width: int
) -> "tuple[np.ndarray, np.ndarray]":
    """Decode the raw head to (boxes [N, 5], scores [N, classes]) in the network's pixels.

    The angle is (sigmoid - 1/4) * pi: from -45 to 135 degrees. The four distances are measured
    along the rotated axes. Source: Ultralytics `OBB.forward_head` and `dist2rbox` (utils/tal.py).
    """
    import numpy as np

    grids = yolov8_decoding.strides_of(outputs)
    anchors, strides = yolov8_decoding.make_anchors(height, width, grids)
    sides = yolov8_decoding.decode_sides(outputs)
    angles = (yolov8_decoding.sigmoid(outputs["angles"][0, :, 0].astype(np.float64)) - 0.25) * np.pi
    along = (sides[:, 2:] - sides[:, :2]) / 2
    cos, sin = np.cos(angles), np.sin(angles)
    x = along[:, 0] * cos - along[:, 1] * sin + anchors[:, 0]
    y = along[:, 0] * sin + along[:, 1] * cos + anchors[:, 1]
    size = sides[:, :2] + sides[:, 2:]
    boxes = np.concatenate([np.stack([x, y], 1), size], 1) * strides[:, None]
    return np.concatenate([boxes, angles[:, None]], 1), yolov8_decoding.decode_scores(outputs)


def decode_detections(output: "np.ndarray", classes: int) -> "tuple[np.ndarray, np.ndarray]":
    """Convert the decoded head [1, 4 + classes + 1, N] to the same pair as `decode_raw`."""
    import numpy as np

    rows = output[0].T.astype(np.float64)
    angles = rows[:, 4 + classes : 5 + classes]
    return np.concatenate([rows[:, :4], angles], 1), rows[:, 4 : 4 + classes]


def suppress(
    boxes: "np.ndarray", scores: "np.ndarray", *, choice: yolov8_decoding.Choice = MEASURED
) -> Turned:
    """Return the candidates that no better one of their class overlaps by more than 0.7.

    Unlike in greedy suppression, a suppressed box still suppresses others: Ultralytics
    `TorchNMS.fast_nms`.
    """
    import numpy as np

    cells, classes, values = yolov8_decoding.candidates(scores, choice)
    alive = np.ones(len(cells), bool)
    for category in np.unique(classes):
        own = np.flatnonzero(classes == category)
        alive[own] = _unsuppressed(boxes[cells[own]])
    kept = np.flatnonzero(alive)[: choice.most]
    return Turned(boxes=boxes[cells[kept]], scores=values[kept], classes=classes[kept])


def _unsuppressed(boxes: "np.ndarray") -> "np.ndarray":
    """Return which of one class's boxes [n, 5], best first, are not overlapped by a better one;
    bool [n].
    """
    import numpy as np

    alive = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), _BLOCK):
        block = boxes[start : start + _BLOCK]
        overlaps = overlap(boxes[: start + len(block)], block) > yolov8_decoding.IOU
        # row i is better than column j where i < start + j
        alive[start : start + _BLOCK] = ~np.triu(overlaps, 1 - start).any(0)
    return alive


def overlap(first: "np.ndarray", second: "np.ndarray") -> "np.ndarray":
    """Return the probabilistic IoU of boxes [n, 5] with boxes [m, 5]: [n, m], 0..1.

    It is one minus the Hellinger distance of two normal distributions whose covariances are those
    of the uniform distribution over each box.
    """
    import numpy as np

    dx = first[:, None, 0] - second[None, :, 0]
    dy = first[:, None, 1] - second[None, :, 1]
    one, two = _covariance(first), _covariance(second)
    a, b, c = (p[:, None] + q[None, :] for p, q in zip(one, two, strict=True))
    spread = a * b - c**2
    apart = (a * dy**2 + b * dx**2) / (spread + _EPSILON) / 4
    apart -= c * dx * dy / (spread + _EPSILON) / 2
    own = [np.clip(p * q - r**2, 0, None) for p, q, r in (one, two)]
    size = 4 * np.sqrt(own[0][:, None] * own[1][None, :])
    shape = np.log(spread / (size + _EPSILON) + _EPSILON) / 2
    distance = np.clip(apart + shape, _EPSILON, 100.0)
    return np.asarray(1 - np.sqrt(1 - np.exp(-distance) + _EPSILON))


def _covariance(boxes: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return variance along x, along y, and covariance; a uniform side of length s has variance s^2
    / 12.
    """
    import numpy as np

    long, short = boxes[:, 2] ** 2 / 12, boxes[:, 3] ** 2 / 12
    cos, sin = np.cos(boxes[:, 4]), np.sin(boxes[:, 4])
    return (
        long * cos**2 + short * sin**2,
        long * sin**2 + short * cos**2,
        (long - short) * cos * sin,
    )


def fit_corners(corners: "np.ndarray") -> "np.ndarray":
    """Return the box [5] of smallest area around points [n, 2] in pixels."""
    import cv2
    import numpy as np

    (x, y), (w, h), degrees = cv2.minAreaRect(corners.astype(np.float32))
    return np.array([x, y, w, h, np.deg2rad(degrees)])
