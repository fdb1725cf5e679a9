"""The time of a step: every attempt counts once, at any moment."""

import time

import pytest

from buildsys.execution.session.step_times import StepTimes


def test_every_attempt_counts() -> None:
    """A step that is made twice took both times, whether the first attempt failed or not."""
    times = StepTimes()
    times.start("a")
    times.end("a", 3.0)
    times.start("a")
    assert times.spent("a") == pytest.approx(3, abs=1)
    times.end("a", 4.0)
    assert times.spent("a") == 7
    times.end("a", None)  # nothing ran
    assert times.spent("a") == 7
    assert times.spent("b") == 0


def test_an_attempt_that_moves_to_this_machine_is_one() -> None:
    """An attempt without a result counts from its first start until it ended."""
    times = StepTimes()
    times.start("a")
    time.sleep(0.05)
    times.start("a")
    times.end("a", None)
    spent = times.spent("a")
    assert 0.05 <= spent < 5
    time.sleep(0.02)
    assert times.spent("a") == spent
