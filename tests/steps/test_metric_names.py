"""The metrics that the vocabulary names are one list, and its headlines are among them."""

from buildsys.spec import HEADLINES, METRICS


def test_every_headline_is_measured_for_a_task() -> None:
    """A column of the summary that nothing fills."""
    assert set(HEADLINES) <= {name for names in METRICS.values() for name in names}


def test_every_task_has_a_headline() -> None:
    """A build's row would show no accuracy."""
    assert all(HEADLINES.keys() & set(names) for names in METRICS.values())
