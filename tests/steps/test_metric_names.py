"""The vocabulary's metrics are one list that contains the headlines; classes without objects are
recognized by metrics without a value.
"""

from buildsys.spec import HEADLINES, METRICS, classes_without_objects
from tests.conftest import REPOSITORY


def test_every_headline_is_measured_for_a_task() -> None:
    """Every headline is measured for some task."""
    assert set(HEADLINES) <= {name for names in METRICS.values() for name in names}


def test_every_task_has_a_headline() -> None:
    """Every task has a headline."""
    assert all(HEADLINES.keys() & set(names) for names in METRICS.values())


def test_classes_without_objects_are_those_without_a_metric() -> None:
    """All metrics of such a class are None; a class whose objects have no labelled keypoint has one
    of boxes.
    """
    figures = {"box.mAP50": 0.0, "box.mAP50-95": 0.0, "box.mAP50-95.cat": 0.0}
    none = ("box.mAP50-95.x", "keypoints.mAP50-95.x", "keypoints.mAP50-95.cat", "top1.dog")
    assert classes_without_objects(figures | dict.fromkeys(none)) == ("x", "dog")


def test_the_reference_lists_every_metric() -> None:
    """The reference names every metric in the row of its task, or says that the row is another's
    with more.
    """
    text = (REPOSITORY / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    for task, names in METRICS.items():
        shared = METRICS["detect"] if "the same" in rows[task] else ()
        assert [
            name for name in names if name not in shared and f"`{name}`" not in rows[task]
        ] == []
