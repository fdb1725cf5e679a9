"""Decode YOLOv8's outputs to detections with NumPy.

A box side is a distribution over 16 bins; its length is the expectation, in strides, measured from
the anchor (the cell's centre). Source: Ultralytics' DFL, dist2bbox and kpts_decode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.spec import REG_MAX, STRIDES
from buildsys.steps.lib.heads.formulas import find_strides

if TYPE_CHECKING:
    import numpy as np

IOU = 0.7
MOST_CANDIDATES, MOST_DETECTIONS = 30_000, 300
"""Maximum number of boxes before and after suppression (Ultralytics `max_nms`, `max_det`)."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Parallel arrays: boxes float [n, 4] x1 y1 x2 y2 in pixels, scores [n], classes [n],
    keypoints [n, k, 3] x, y in pixels and visibility 0..1.
    """

    boxes: "np.ndarray"
    scores: "np.ndarray"
    classes: "np.ndarray"
    keypoints: "np.ndarray"


def decode_raw(
    outputs: "dict[str, np.ndarray]", height: int, width: int, dims: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Decode the raw head to (boxes [N, 4] x1 y1 x2 y2, scores [N, classes], keypoints [N, k, 3])."""
    import numpy as np

    anchors, strides = make_anchors(height, width, strides_of(outputs))
    sides = decode_sides(outputs)
    boxes = np.concatenate([anchors - sides[:, :2], anchors + sides[:, 2:]], 1) * strides[:, None]
    points = np.zeros((len(boxes), 0, 3))
    if "keypoints" in outputs:
        raw = outputs["keypoints"][0].reshape(len(boxes), -1, dims).astype(np.float64)
        places = (raw[..., :2] * 2 + (anchors - 0.5)[:, None]) * strides[:, None, None]
        seen = sigmoid(raw[..., 2:3]) if dims == 3 else np.ones_like(places[..., :1])
        points = np.concatenate([places, seen], -1)
    return boxes, decode_scores(outputs), points


def decode_sides(outputs: "dict[str, np.ndarray]") -> "np.ndarray":
    """Return distances [N, 4] left, top, right, bottom of the anchor, in units of the cell's
    stride.
    """
    import numpy as np

    logits = np.concatenate([outputs[f"box_s{stride}"][0] for stride in strides_of(outputs)])
    bins = logits.reshape(-1, 4, REG_MAX).astype(np.float64)
    bins = np.exp(bins - bins.max(-1, keepdims=True))
    return np.asarray((bins / bins.sum(-1, keepdims=True)) @ np.arange(REG_MAX))


def decode_scores(outputs: "dict[str, np.ndarray]") -> "np.ndarray":
    """Return the class probabilities [N, classes] of every cell."""
    import numpy as np

    logits = np.concatenate([outputs[f"cls_s{stride}"][0] for stride in strides_of(outputs)])
    return sigmoid(logits.astype(np.float64))


def decode_detections(
    output: "np.ndarray", classes: int, dims: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Convert the decoded head [1, 4 + classes + k * dims, N] to the same triple as `decode_raw`.
    Without keypoints (`dims` 0) further rows belong to another task and are ignored.
    """
    import numpy as np

    rows = output[0].T.astype(np.float64)
    centre, size, scores = rows[:, :2], rows[:, 2:4], rows[:, 4 : 4 + classes]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    points = np.zeros((len(rows), 0, 3))
    if dims and rows.shape[1] > 4 + classes:
        points = rows[:, 4 + classes :].reshape(len(rows), -1, dims)
        if dims == 2:
            points = np.concatenate([points, np.ones_like(points[..., :1])], -1)
    return boxes, scores, points


def join_split(boxes: "np.ndarray", scores: "np.ndarray") -> "np.ndarray":
    """Join the split head, boxes [1, 4, N] and scores [1, N, classes], to [1, 4 + classes, N]."""
    import numpy as np

    return np.concatenate([boxes, scores.transpose(0, 2, 1)], 1)


def to_pixels(output: "np.ndarray", height: int, width: int) -> "np.ndarray":
    """Convert boxes of [1, 4 + …, N] from shares of the input to pixels."""
    import numpy as np

    factors = np.ones((1, output.shape[1], 1))
    factors[0, :4, 0] = (width, height, width, height)
    return np.asarray(output * factors)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What counts as an object: scores above `confidence`, and at most `most` per image.
    `every_class`: a cell is an object of each class with such a score; otherwise only of its best
    one.
    """

    confidence: float
    every_class: bool
    most: int = MOST_DETECTIONS


MEASURED = Choice(confidence=0.001, every_class=True)
"""Thresholds for measuring accuracy (Ultralytics `val`)."""


def prediction(confidence: float) -> Choice:
    """Return the choice for detections that are shown or used (Ultralytics `predict`)."""
    return Choice(confidence=confidence, every_class=False)


def select(
    boxes: "np.ndarray", scores: "np.ndarray", choice: Choice = MEASURED
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return the candidates that no better one of their class overlaps by an IoU above 0.7, best
    first: their cells [n], classes [n] and scores [n].
    """
    cells, classes, values = candidates(scores, choice)
    kept = greedy(boxes[cells], classes, most=choice.most)
    return cells[kept], classes[kept], values[kept]


def candidates(scores: "np.ndarray", choice: Choice) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return the candidates before suppression, best first: cells [n], classes [n] and scores [n]."""
    import numpy as np

    if choice.every_class:
        cells, classes = np.nonzero(scores > choice.confidence)
    else:
        best = scores.argmax(1)
        cells = np.flatnonzero(scores[np.arange(len(scores)), best] > choice.confidence)
        classes = best[cells]
    values = scores[cells, classes]
    order = np.argsort(-values, kind="stable")[:MOST_CANDIDATES]
    return cells[order], classes[order], values[order]


def greedy(
    boxes: "np.ndarray", classes: "np.ndarray", overlap: float = IOU, most: int = MOST_DETECTIONS
) -> list[int]:
    """Return the indices of the boxes (sorted best first) that remain after suppression within
    their class. A box is removed if a better one overlaps it by an IoU above `overlap`; at most
    `most` remain.
    """
    import numpy as np

    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    alive, kept = np.ones(len(boxes), bool), []
    for best in range(len(boxes)):
        if not alive[best]:
            continue
        kept.append(best)
        if len(kept) == most:
            break
        low = np.maximum(boxes[best, :2], boxes[best + 1 :, :2])
        high = np.minimum(boxes[best, 2:], boxes[best + 1 :, 2:])
        common = np.clip(high - low, 0, None).prod(1)
        union = areas[best] + areas[best + 1 :] - common
        alive[best + 1 :] &= ~((common > overlap * union) & (classes[best + 1 :] == classes[best]))
    return kept


def strides_of(outputs: Iterable[str]) -> tuple[int, ...]:
    """Return the strides of a raw head's cells from the names of its outputs: box_s8, box_s16, …"""
    return find_strides((), outputs, 0, 0)


def make_anchors(
    height: int, width: int, strides: tuple[int, ...] = STRIDES
) -> "tuple[np.ndarray, np.ndarray]":
    """Return cell centres [N, 2] in units of their stride, and strides [N]."""
    import numpy as np

    anchors, sizes = [], []
    for stride in strides:
        rows, columns = height // stride, width // stride
        y, x = np.mgrid[:rows, :columns] + 0.5
        anchors.append(np.stack([x.ravel(), y.ravel()], 1))
        sizes.append(np.full(rows * columns, stride, np.float64))
    return np.concatenate(anchors), np.concatenate(sizes)


def sigmoid(x: "np.ndarray") -> "np.ndarray":
    """Return the logistic function of x."""
    import numpy as np

    return np.asarray(1 / (1 + np.exp(-x)))
