"""Precision over recall and the confusion matrix of one file over one split: an evaluation's `curves`.

Precision counts as everywhere else: an object is found from an overlap of 0.5 on (of keypoints, an
object keypoint similarity). The confusion matrix is Ultralytics': detections of at least 0.25, matched
whatever their class from an overlap of 0.45 on, those that overlap most first.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CONFIDENCE, OVERLAP = 0.25, 0.45
STEPS = 101
"""Recalls 0, 0.01, … 1 at which a curve is given."""
Box = Sequence[float]
"""x, y of the upper left corner, width, height."""


@dataclass(frozen=True, kw_only=True)
class ClassCurve:
    """At each recall the best precision that still has it, and the confidence that gives it; 0 where
    so many objects are never found.
    """

    name: str
    objects: int
    precision: tuple[float, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """The confidence with the highest F1, the mean over the classes, and what it gives; of several the
    highest: below the last object that is found come false ones alone.
    """

    confidence: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Of one kind: box, keypoints, masks, obb. Classes that the split does not show have none."""

    kind: str
    classes: tuple[ClassCurve, ...]
    best: Threshold


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """`counts[i][j]`: found as class i what is of class j. Behind the classes stands the background:
    its row are objects that nothing found, its column detections where no object is.

    `confidence`, `overlap` 0: of whole images, each of which is found as its likeliest class.
    """

    classes: tuple[str, ...]
    confidence: float
    overlap: float
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All of it. `sha256`: of the model file."""

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
    """Read it. Raises OSError, ValueError, TypeError, KeyError where it is none of ours."""
    from buildsys.steps.lib.runtime.launcher import rebuild

    found: Measured = rebuild(Measured, json.loads(path.read_bytes()))
    return found


def curve(
    name: str, objects: int, precision: Sequence[float], scores: Sequence[float]
) -> ClassCurve:
    """A class's curve from values at the 101 recalls, rounded to 1e-4."""
    return ClassCurve(
        name=name,
        objects=objects,
        precision=tuple(round(max(float(value), 0.0), 4) for value in precision),
        confidence=tuple(round(max(float(value), 0.0), 4) for value in scores),
    )


def trace(name: str, objects: int, right: Sequence[bool], scores: Sequence[float]) -> ClassCurve:
    """A class's curve from its detections, best first: whether each is right, and its score."""
    recalls, precisions, hits = [], [], 0
    for number, hit in enumerate(right, 1):
        hits += bool(hit)
        recalls.append(hits / objects if objects else 0.0)
        precisions.append(hits / number)
    for index in range(len(precisions) - 2, -1, -1):
        precisions[index] = max(precisions[index], precisions[index + 1])
    precision, confidence, place = [0.0] * STEPS, [0.0] * STEPS, 0
    for step in range(STEPS):
        while place < len(recalls) and recalls[place] < step / (STEPS - 1) - 1e-12:
            place += 1
        if place == len(recalls):
            break
        precision[step], confidence[step] = precisions[place], scores[place]
    return curve(name, objects, precision, confidence)


def join(kind: str, classes: Sequence[ClassCurve]) -> Curves:
    """The curves of a kind, with the confidence that suits them best."""
    shown = tuple(item for item in classes if item.objects)
    choices = [_at(shown, step / (STEPS - 1)) for step in range(STEPS)] if shown else []
    nothing = Threshold(confidence=0.0, precision=0.0, recall=0.0, f1=0.0)
    best = max(choices, key=lambda item: (item.f1, item.confidence), default=nothing)
    return Curves(kind=kind, classes=shown, best=best)


def _at(classes: tuple[ClassCurve, ...], confidence: float) -> Threshold:
    """What is found of the classes, in the mean, with detections from a confidence on."""
    points = []
    for item in classes:
        reached = [
            step
            for step, (precision, score) in enumerate(
                zip(item.precision, item.confidence, strict=True)
            )
            if precision > 0 and score >= confidence
        ]
        recall = reached[-1] / (STEPS - 1) if reached else 0.0
        precision = item.precision[reached[-1]] if reached else 0.0
        both = precision + recall
        points.append((precision, recall, 2 * precision * recall / both if both else 0.0))
    mean = [round(sum(values) / len(points), 4) for values in zip(*points, strict=True)]
    return Threshold(confidence=round(confidence, 2), precision=mean[0], recall=mean[1], f1=mean[2])


class Matrix:
    """A confusion matrix while it is counted."""

    def __init__(self, classes: tuple[str, ...], whole: bool = False) -> None:
        """`whole`: of whole images."""
        self.classes, self.whole = classes, whole
        self.counts = [[0] * (len(classes) + 1) for _ in range(len(classes) + 1)]

    def add(
        self, truth: Sequence[int], found: Sequence[Found], overlaps: Sequence[Sequence[float]]
    ) -> None:
        """One image: classes of its objects, its detections, and overlaps [objects][detections]."""
        nothing = len(self.classes)
        pairs = [
            (-overlaps[row][column], row, column)
            for row in range(len(truth))
            for column in range(len(found))
            if found[column].score >= CONFIDENCE and overlaps[row][column] > OVERLAP
        ]
        rows: set[int] = set()
        columns: set[int] = set()
        for _, row, column in sorted(pairs):
            if row not in rows and column not in columns:
                rows.add(row)
                columns.add(column)
                self.counts[found[column].category][truth[row]] += 1
        for row, category in enumerate(truth):
            self.counts[nothing][category] += row not in rows
        for column, item in enumerate(found):
            if item.score >= CONFIDENCE and column not in columns:
                self.counts[item.category][nothing] += 1

    def add_whole(self, truth: int, found: int) -> None:
        """One image that has a class as a whole."""
        self.counts[found][truth] += 1

    def result(self) -> Confusion:
        """As it is kept."""
        return Confusion(
            classes=self.classes,
            confidence=0.0 if self.whole else CONFIDENCE,
            overlap=0.0 if self.whole else OVERLAP,
            counts=tuple(map(tuple, self.counts)),
        )


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[0] + first[2], second[0] + second[2]) - max(first[0], second[0])
    height = min(first[1] + first[3], second[1] + second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    return common / (first[2] * first[3] + second[2] * second[3] - common)
