"""The vocabulary's metrics are one list that contains the headlines."""

from buildsys.spec import HEADLINES, METRICS


def test_every_headline_is_measured_for_a_task() -> None:
    """Every headline is measured for some task."""
    assert set(HEADLINES) <= {name for names in METRICS.values() for name in names}


def test_every_task_has_a_headline() -> None:
    """Every task has a headline."""
    assert all(HEADLINES.keys() & set(names) for names in METRICS.values())
