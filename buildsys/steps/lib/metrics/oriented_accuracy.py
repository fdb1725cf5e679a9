"""Average precision of oriented boxes, as Ultralytics defines it: COCO has no such measure.

Boxes are [5], see `heads.oriented_boxes`. Matching and the 101-point average precision follow
Ultralytics' `match_predictions` (engine/validator.py) and `compute_ap` (utils/metrics.py).
"""

from typing import TYPE_CHECKING

from buildsys.steps.lib.heads import oriented_boxes
from buildsys.steps.lib.metrics import curves

if TYPE_CHECKING:
    import numpy as np

_THRESHOLDS = 10
"""Number of overlap thresholds, from 0.50 to 0.95 in steps of 0.05."""


class Tally:
    """Ground truth and detections of one split so far."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.classes = classes
        self.objects = 0
        self._counts = [0] * len(classes)
        self._found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self.curves: list[curves.Curves] = []
        self._matrix = curves.Matrix(classes)

    def add_picture(
        self, found: oriented_boxes.Turned, boxes: "list[np.ndarray]", categories: list[int]
    ) -> None:
        """Add the detections of an image, and its labels: boxes [5], all in the same pixels."""
        import numpy as np

        self.objects += len(boxes)
        for category in categories:
            self._counts[category] += 1
        truth = np.array(boxes).reshape(-1, 5)
        right = match(found, truth, np.array(categories, int))
        self._found.append((right, found.scores, found.classes))
        answers = zip(found.classes.tolist(), found.scores.tolist(), strict=True)
        self._matrix.add(
            categories,
            [curves.Found(category=category, score=score) for category, score in answers],
            oriented_boxes.overlap(truth, found.boxes).tolist(),
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
        rankings = [
            curves.Ranking(
                name=name,
                objects=count,
                right=tuple(right[classes == number, 0].tolist()),
                scores=tuple(scores[classes == number].tolist()),
            )
            for number, (name, count) in enumerate(zip(self.classes, self._counts, strict=True))
        ]
        self.curves.append(curves.join(prefix, rankings))
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


def match(found: oriented_boxes.Turned, boxes: "np.ndarray", classes: "np.ndarray") -> "np.ndarray":
    """Return which detections of one image are correct, bool [n, 10], one column per threshold.
    Best first, each is matched to the unmatched object of its class that it overlaps most.
    """
    import numpy as np

    thresholds = np.linspace(0.5, 0.95, _THRESHOLDS)
    right = np.zeros((len(found.scores), _THRESHOLDS), bool)
    if not len(boxes) or not len(found.scores):
        return right
    same = classes[:, None] == found.classes[None, :]
    overlaps = np.where(same, oriented_boxes.overlap(boxes, found.boxes), 0)
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
