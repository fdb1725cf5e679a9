"""The vocabulary's metrics are one list that contains the headlines; classes without objects are
recognized by metrics without a value.
"""

from buildsys.spec import HEADLINES, METRICS, classes_without_objects


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
