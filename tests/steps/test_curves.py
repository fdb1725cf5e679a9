"""Precision over recall and the confusion matrix, for given detections."""

from pathlib import Path

import pytest

from buildsys.steps.lib.metrics import curves
from buildsys.steps.lib.metrics.curves import Found


def rank(name: str, objects: int, found: dict[float, bool]) -> curves.Ranking:
    """Detections by score, best first: whether each is correct."""
    return curves.Ranking(
        name=name, objects=objects, right=tuple(found.values()), scores=tuple(found)
    )


def test_a_curve_has_the_best_precision_that_still_has_a_recall() -> None:
    """At each recall the curve has the best precision that still reaches it."""
    found = curves.trace(rank("tag", 3, {0.9: True, 0.6: False, 0.3: True}))
    assert (found.precision[0], found.confidence[0]) == (1.0, 0.9)
    assert (found.precision[33], found.confidence[33]) == (1.0, 0.9)
    assert (found.precision[34], found.confidence[34]) == (0.6667, 0.3)
    assert (found.precision[67], found.confidence[67]) == (0.0, 0.0)
    assert len(found.precision) == len(found.confidence) == curves.STEPS


def test_the_best_confidence_is_that_of_the_highest_f1() -> None:
    """The best confidence has the highest F1; a class without objects does not count."""
    good = rank("tag", 2, {0.9: True, 0.6: True, 0.3: False})
    absent = rank("cup", 0, {0.5: False})
    found = curves.join("box", [good, absent])
    assert [item.name for item in found.classes] == ["tag"]
    assert (found.best.f1, found.best.precision, found.best.recall) == (1.0, 1.0, 1.0)
    assert found.best.confidence == 0.6
    assert curves.join("box", [absent]).best.f1 == 0.0


def test_the_figures_at_a_confidence_are_of_the_detections_from_it_on() -> None:
    """Correct detections below a confidence do not raise the precision at it, as they raise that of
    the curve.
    """
    mixed = rank("tag", 4, {0.9: True, 0.85: False, 0.8: False, 0.6: True, 0.5: True, 0.4: True})
    clear = rank("cup", 2, {0.95: True, 0.6: True, 0.55: False, 0.54: False, 0.53: False})
    found = curves.join("box", [mixed, clear])
    assert found.classes[0].precision[50] == 0.6667  # reached at 0.4
    assert found.best == curves.Threshold(confidence=0.6, precision=0.75, recall=0.75, f1=0.75)


def test_a_matrix_counts_what_was_found_as_what() -> None:
    """The matrix pairs objects with detections regardless of class; the rest is missed or false."""
    matrix = curves.Matrix(("cat", "dog"))
    seen = [
        Found(category=1, score=0.9),  # a cat detected as a dog
        Found(category=0, score=0.8),  # the same cat with less overlap: a false detection
        Found(category=1, score=0.2),  # below the confidence threshold
    ]
    matrix.add([0, 1], seen, [[0.9, 0.6, 0.0], [0.0, 0.0, 0.9]])
    matrix.add([], [Found(category=0, score=0.5)], [])
    assert matrix.result().counts == ((0, 0, 2), (1, 0, 0), (0, 1, 0))


def test_the_best_detection_takes_its_object_first() -> None:
    """Among detections of one object the score decides, not the overlap; what remains without an
    object takes another one that it overlaps. A score of exactly the confidence does not count.
    """
    matrix = curves.Matrix(("cat", "dog"))
    seen = [
        Found(category=0, score=0.8),  # overlaps the first object most, and then the second
        Found(category=1, score=0.9),
        Found(category=0, score=curves.CONFIDENCE),
    ]
    matrix.add([0, 1], seen, [[0.9, 0.5, 0.0], [0.5, 0.0, 0.9]])
    matrix.add([0], seen[:2], [[0.9, 0.5]])
    assert matrix.result().counts == ((0, 1, 1), (2, 0, 0), (0, 0, 0))


def test_whole_images_have_no_background() -> None:
    """A classifier's matrix has no background."""
    matrix = curves.Matrix(("bar", "egg"), whole=True)
    matrix.add_whole(0, 1)
    matrix.add_whole(1, 1)
    found = matrix.result()
    assert found.counts == ((0, 0, 0), (1, 1, 0), (0, 0, 0))
    assert (found.confidence, found.overlap) == (0.0, 0.0)


def test_boxes_that_only_touch_do_not_overlap() -> None:
    """Boxes that only touch have no overlap; half in common is an overlap of a third."""
    assert curves.overlap((0, 0, 2, 2), (2, 0, 2, 2)) == 0.0
    assert curves.overlap((0, 0, 2, 2), (1, 0, 2, 2)) == pytest.approx(1 / 3)


def test_the_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    """The file is read as it was written."""
    measured = curves.Measured(
        sha256="0" * 64,
        split="val",
        pictures=2,
        curves=(curves.join("box", [rank("tag", 1, {0.9: True})]),),
        confusion=curves.Matrix(("tag",)).result(),
    )
    curves.write(tmp_path / "curves.json", measured)
    assert curves.read(tmp_path / "curves.json") == measured
