"""How long a step will take: a training by its epochs, other steps as long as the last one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.execution.running.durations import record_seconds, usual_seconds
from buildsys.execution.state.database import Database
from buildsys.graph import Step
from tests.sample_steps import make_step


def training(epochs: int) -> Step:
    """A training of a number of epochs."""
    step = make_step("train_ultralytics")
    return replace(step, trains=True, params=json.dumps({"epochs": epochs}))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database."""
    return Database(tmp_path / "state.sqlite")


def test_a_training_takes_as_long_as_its_epochs(database: Database) -> None:
    """Other numbers of epochs, and a training that continues, take their share."""
    assert usual_seconds(database.duration, training(3)) is None
    record_seconds(database, training(3), 12.0)
    assert usual_seconds(database.duration, training(3)) == 12.0
    assert usual_seconds(database.duration, training(40)) == 160.0
    assert usual_seconds(database.duration, training(40), done=5) == 140.0
    assert usual_seconds(database.duration, training(40), done=40) == 0.0


def test_a_training_that_continued_took_the_time_of_its_last_epochs(database: Database) -> None:
    """The epochs of an earlier run do not count, and one without an epoch says nothing."""
    record_seconds(database, training(10), 20.0, done=8)
    assert usual_seconds(database.duration, training(10)) == 100.0
    record_seconds(database, training(10), 3.0, done=10)
    assert usual_seconds(database.duration, training(10)) == 100.0


def test_a_training_that_may_have_ended_early_says_nothing(database: Database) -> None:
    """With `patience`, the seconds are those of an unknown number of epochs."""
    step = replace(training(300), params=json.dumps({"epochs": 300, "patience": 20}))
    record_seconds(database, step, 60.0)
    assert usual_seconds(database.duration, training(300)) is None


def test_seconds_without_epochs_are_no_estimate_of_a_training(database: Database) -> None:
    """Versions before this one recorded a training without its epochs."""
    database.record_duration("train_ultralytics", 12.0)
    assert usual_seconds(database.duration, training(40)) is None


def test_other_steps_take_as_long_as_the_last_one(database: Database) -> None:
    """A step that does not train has no epochs."""
    step = make_step("export_onnx")
    record_seconds(database, step, 2.0)
    assert usual_seconds(database.duration, step) == 2.0
