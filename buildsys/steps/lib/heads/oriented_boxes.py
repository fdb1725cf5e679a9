"""Oriented boxes: decoding, suppression and average precision, as Ultralytics defines them.

A box is x, y, width, height in pixels and an angle in radians; boxes are compared as Gaussians, so
that different descriptions of the same box are equal. COCO has no such measure: overlap is the
probabilistic IoU of Llerena et al. (arXiv 2106.06072), as in Ultralytics `batch_probiou`
(utils/metrics.py); matching and the 101-point average precision follow its `match_predictions`
(engine/validator.py) and `compute_ap`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.steps.lib.heads import yolov8_decoding
from buildsys.steps.lib.metrics import curves

if TYPE_CHECKING:
    import numpy as np

MEASURED = yolov8_decoding.Choice(confidence=0.01, every_class=True)
"""Thresholds for measuring accuracy: Ultralytics validates oriented boxes from 0.01, not 0.001."""
_BLOCK = 256
"""Number of boxes whose overlaps with all better ones are computed at once: all overlaps of
thousands of boxes would need gigabytes.
"""
_EPSILON = 1e-7
_THRESHOLDS = 10
"""Number of overlap thresholds, from 0.50 to 0.95 in steps of 0.05."""


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


def corners_of(boxes: "np.ndarray") -> "np.ndarray":
    """Return the corners [n, 4, 2] of boxes [n, 5], in order around the box."""
    import numpy as np

    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    local = signs[None] * boxes[:, None, 2:4]
    cos, sin = np.cos(boxes[:, 4, None]), np.sin(boxes[:, 4, None])
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.asarray(np.stack([x, y], -1) + boxes[:, None, :2])


class Tally:
    """Ground truth and detections of one split so far."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.objects = 0
        self._counts = [0] * len(classes)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.curves: list[curves.Curves] = []
        self._matrix = curves.Matrix(classes)

    def add_picture(self, found: Turned, boxes: "list[np.ndarray]", categories: list[int]) -> None:
        """Add the detections of an image, and its labels: boxes [5], all in the same pixels."""
        import numpy as np

        self.objects += len(boxes)
        for category in categories:
            self._counts[category] += 1
        truth = np.array(boxes).reshape(-1, 5)
        right = match(found, truth, np.array(categories, int))
        self._found.append((right, found.scores, found.classes))
        sure = found.scores >= curves.CONFIDENCE
        answers = zip(found.classes[sure].tolist(), found.scores[sure].tolist(), strict=True)
        self._matrix.add(
            categories,
            [curves.Found(category=category, score=score) for category, score in answers],
            overlap(truth, found.boxes[sure]).tolist(),
        )

    def confuse(self) -> curves.Confusion:
        """Return the confusion matrix."""
        return self._matrix.result()

    def measure(self, prefix: str) -> dict[str, float]:
        """Return `<prefix>.mAP50`, `<prefix>.mAP50-95` and the latter per class, rounded to 1e-6.
        The mean is over the classes that occur in the split.
        """
        import numpy as np

        right, scores, classes = (np.concatenate(part) for part in zip(*self._found, strict=True))
        order = np.argsort(-scores, kind="stable")
        right, classes, scores = right[order], classes[order], scores[order]
        traced = [
            curves.trace(name, count, right[classes == number, 0], scores[classes == number])
            for number, (name, count) in enumerate(zip(self.classes, self._counts, strict=True))
        ]
        self.curves.append(curves.join(prefix, traced))
        each = [
            average_precision(right[classes == number], count)
            for number, count in enumerate(self._counts)
        ]
        shown = np.array([value for value, n in zip(each, self._counts, strict=True) if n])
        mean = shown.mean(0) if len(shown) else np.zeros(_THRESHOLDS)
        result = {f"{prefix}.mAP50": mean[0], f"{prefix}.mAP50-95": mean.mean()}
        if len(self.classes) > 1:
            for name, value in zip(self.classes, each, strict=True):
                result[f"{prefix}.mAP50-95.{name}"] = value.mean()
        return {name: round(float(value), 6) for name, value in result.items()}


def match(found: Turned, boxes: "np.ndarray", classes: "np.ndarray") -> "np.ndarray":
    """Return which detections of one image are correct, bool [n, 10], one column per threshold.
    Best first, each is matched to the unmatched object of its class that it overlaps most.
    """
    import numpy as np

    thresholds = np.linspace(0.5, 0.95, _THRESHOLDS)
    right = np.zeros((len(found.scores), _THRESHOLDS), bool)
    if not len(boxes) or not len(found.scores):
        return right
    same = classes[:, None] == found.classes[None, :]
    overlaps = np.where(same, overlap(boxes, found.boxes), 0)
    taken, columns = np.zeros((len(boxes), _THRESHOLDS), bool), np.arange(_THRESHOLDS)
    for number in range(len(found.scores)):
        free = np.where(taken, 0, overlaps[:, number, None])
        best = free.argmax(0)
        right[number] = free[best, columns] >= thresholds
        taken[best, columns] |= right[number]
    return right


def average_precision(right: "np.ndarray", objects: int) -> "np.ndarray":
    """Return the average precision [10] of one class from its detections, bool [n, 10], best first.
    It is the trapezoidal area under the monotonic precision at 101 recalls; 0 without detections or
    objects.
    """
    import numpy as np

    if not len(right) or not objects:
        return np.zeros(_THRESHOLDS)
    hits = right.cumsum(0)
    recall = hits / objects
    precision = hits / np.arange(1, len(right) + 1)[:, None]
    places, result = np.linspace(0, 1, 101), np.zeros(_THRESHOLDS)
    for column in range(_THRESHOLDS):
        x = np.concatenate([[0.0], recall[:, column], [recall[-1, column], 1.0]])
        y = np.concatenate([[1.0], precision[:, column], [0.0, 0.0]])
        y = np.maximum.accumulate(y[::-1])[::-1]
        curve = np.interp(places, x, y)
        result[column] = (curve[1:] + curve[:-1]).sum() / 2 / 100
    return result
