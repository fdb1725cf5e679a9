"""The vocabulary's metrics are one list that contains the headlines; classes without objects have
none.
"""

from buildsys.spec import HEADLINES, METRICS, classes_without_objects
from buildsys.steps.lib.metrics import accuracy, curves


def test_every_headline_is_measured_for_a_task() -> None:
    """Every headline is measured for some task."""
    assert set(HEADLINES) <= {name for names in METRICS.values() for name in names}


def test_every_task_has_a_headline() -> None:
    """Every task has a headline."""
    assert all(HEADLINES.keys() & set(names) for names in METRICS.values())


def test_a_class_without_objects_has_no_accuracy() -> None:
    """Metrics of a class that no object of the split has are None, also if it was detected."""
    classes = ("x", "cat", "cat.x", "dog")
    matrix = curves.Matrix(classes)
    matrix.add([1, 2], [curves.Found(category=3, score=0.9)], [[0.0], [0.0]])
    figures = {"box.mAP50": 0.0, "box.mAP50-95": 0.0}
    figures |= {f"box.mAP50-95.{name}": 0.0 for name in classes}
    found = accuracy.without_absent(figures, classes, matrix.result())
    assert [name for name, value in found.items() if value is None] == [
        "box.mAP50-95.x",
        "box.mAP50-95.dog",
    ]
    assert classes_without_objects(found) == ("dog", "x")


def test_whole_images_of_no_class_have_no_accuracy() -> None:
    """A class without images has no top-1 accuracy."""
    matrix = curves.Matrix(("bar", "egg"), whole=True)
    matrix.add_whole(0, 1)
    figures = {"top1": 0.0, "top1.bar": 0.0, "top1.egg": 0.0}
    found = accuracy.without_absent(figures, ("bar", "egg"), matrix.result())
    assert found == {"top1": 0.0, "top1.bar": 0.0, "top1.egg": None}
