"""Precision over recall and the confusion matrix of one file on one split: an evaluation's
`curves`.

An object counts as found from an overlap of 0.5 on (for keypoints, object keypoint similarity). The
confusion matrix is Ultralytics' (`ConfusionMatrix.process_batch`, utils/metrics.py): detections
above 0.25, each matched regardless of class to the object that it overlaps most, by more than 0.45.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from operator import neg
from pathlib import Path

CONFIDENCE, OVERLAP = 0.25, 0.45
STEPS = 101
"""Number of points of a curve: recalls 0, 0.01, … 1."""
Box = Sequence[float]
"""x, y of the upper left corner, width, height."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The detections of one class in a split, best first: whether each is correct, and its score."""

    name: str
    objects: int
    right: tuple[bool, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ClassCurve:
    """The curve of one class: at each recall the best precision, and the confidence that reaches
    it; 0 for recalls that are never reached.
    """

    name: str
    objects: int
    precision: tuple[float, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The confidence with the highest mean F1 over the classes, and the mean figures of the
    detections from it on; the highest of several, because lower ones only add false detections.
    """

    confidence: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one kind: box, keypoints, masks, obb. Classes that do not occur in the split
    have none.
    """

    kind: str
    classes: tuple[ClassCurve, ...]
    best: Threshold


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """A confusion matrix. `counts[i][j]`: objects of class j that were found as class i. The last
    index is the background: its row counts objects that were not found, its column detections
    without an object. `confidence`, `overlap` are 0 for whole images, each of which is found as its
    most likely class.
    """

    classes: tuple[str, ...]
    confidence: float
    overlap: float
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything measured on one file. `sha256`: digest of the model file."""

    sha256: str
    split: str
    pictures: int
    curves: tuple[Curves, ...]
    confusion: Confusion


@dataclass(frozen=True, kw_only=True)
class Found:
    """A detection."""

    category: int
    score: float


def write(path: Path, measured: Measured) -> None:
    """Write the file."""
    path.write_text(json.dumps(asdict(measured), sort_keys=True) + "\n", encoding="utf-8")


def read(path: Path) -> Measured:
    """Read the file. Raises OSError, ValueError, TypeError, KeyError if it has another format."""
    from buildsys.steps.lib.runtime.launcher import rebuild

    found: Measured = rebuild(Measured, json.loads(path.read_bytes()))
    return found


def trace(ranking: Ranking) -> ClassCurve:
    """Return a class's curve at the 101 recalls, rounded to 1e-4."""
    hits, scores = tuple(accumulate(ranking.right)), ranking.scores
    precisions = [hit / number for number, hit in enumerate(hits, 1)]
    for index in range(len(precisions) - 2, -1, -1):
        precisions[index] = max(precisions[index], precisions[index + 1])
    precision, confidence, place = [0.0] * STEPS, [0.0] * STEPS, 0
    for step in range(STEPS):
        while place < len(hits) and hits[place] / ranking.objects < step / (STEPS - 1) - 1e-12:
            place += 1
        if place == len(hits):
            break
        precision[step], confidence[step] = round(precisions[place], 4), round(scores[place], 4)
    return ClassCurve(
        name=ranking.name,
        objects=ranking.objects,
        precision=tuple(precision),
        confidence=tuple(confidence),
    )


def join(kind: str, rankings: Sequence[Ranking]) -> Curves:
    """Return the curves of a kind, with the confidence of the highest mean F1."""
    shown = tuple(item for item in rankings if item.objects)
    nothing = Threshold(confidence=0.0, precision=0.0, recall=0.0, f1=0.0)
    best = max(_thresholds(shown), key=lambda item: (item.f1, item.confidence), default=nothing)
    return Curves(kind=kind, classes=tuple(map(trace, shown)), best=best)


def _thresholds(rankings: tuple[Ranking, ...]) -> Iterator[Threshold]:
    """Yield the mean figures of the classes at the confidences 0, 0.01, … 1. They are those of all
    detections from a confidence on; the precision of a curve is the best of any lower confidence.
    """
    hits = [(0, *accumulate(item.right)) for item in rankings]
    for step in range(STEPS if rankings else 0):
        confidence, points = step / (STEPS - 1), []
        for item, right in zip(rankings, hits, strict=True):
            kept = bisect_right(item.scores, -confidence, key=neg)
            precision, recall = right[kept] / max(kept, 1), right[kept] / item.objects
            points.append((precision, recall, 2 * right[kept] / (kept + item.objects)))
        mean = [round(sum(values) / len(points), 4) for values in zip(*points, strict=True)]
        yield Threshold(confidence=confidence, precision=mean[0], recall=mean[1], f1=mean[2])


def is_counted(score: float) -> bool:
    """Return whether a confusion matrix counts a detection with this score."""
    return score > CONFIDENCE


class Matrix:
    """A confusion matrix that is being counted."""

    def __init__(self, classes: tuple[str, ...], whole: bool = False) -> None:
        """Create an empty matrix; `whole`: whether whole images are classified."""
        self.classes, self.whole = classes, whole
        self.counts = [[0] * (len(classes) + 1) for _ in range(len(classes) + 1)]

    def add(
        self, truth: Sequence[int], found: Sequence[Found], overlaps: Sequence[Sequence[float]]
    ) -> None:
        """Add one image: classes of its objects, its detections, and overlaps
        [objects][detections]. The detection with the highest score takes its object first.
        """
        nothing = len(self.classes)
        free = dict(enumerate(truth))
        sure = [(item, column) for column, item in enumerate(found) if is_counted(item.score)]
        for item, column in sorted(sure, key=lambda pair: -pair[0].score):
            row = max(free, key=lambda row: overlaps[row][column], default=None)
            if row is not None and overlaps[row][column] > OVERLAP:
                self.counts[item.category][free.pop(row)] += 1
            else:
                self.counts[item.category][nothing] += 1
        for category in free.values():
            self.counts[nothing][category] += 1

    def add_whole(self, truth: int, found: int) -> None:
        """Add one image that has a class as a whole."""
        self.counts[found][truth] += 1

    def result(self) -> Confusion:
        """Return the finished confusion matrix."""
        return Confusion(
            classes=self.classes,
            confidence=0.0 if self.whole else CONFIDENCE,
            overlap=0.0 if self.whole else OVERLAP,
            counts=tuple(map(tuple, self.counts)),
        )


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (first[2] * first[3] + second[2] * second[3] - common)
