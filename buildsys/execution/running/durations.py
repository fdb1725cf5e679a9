"""How long a step usually takes: as long as the last one of its module, a training per epoch."""

import itertools
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from buildsys.execution.state.database import Database
from buildsys.graph import Step
from buildsys.steps.lib.families.torch_file import read_operations

STATES = ("state.pt", "last.pt")
"""Files in which trainings save what the next epoch needs: Ultralytics', YOLOX's."""
LastSeconds = Callable[[str], float | None]
"""`Database.duration`."""
EPOCHS = "epochs"
"""Their key for the number of finished epochs, and the parameter with the number of all."""


def usual_seconds(last: LastSeconds, step: Step, done: int = 0) -> float | None:
    """Return how long a step will take, by the last one of its kind; None if that is unknown.

    `done`: the epochs of a training that are finished already.
    """
    seconds = last(_kind(step))
    epochs = all_epochs(step)
    return seconds if seconds is None or not epochs else seconds * max(epochs - done, 0)


def record_seconds(database: Database, step: Step, seconds: float, done: int = 0) -> None:
    """Record how long a step took, unless a training may have ended before its last epoch.

    `done`: the epochs that were finished before it started.
    """
    epochs = all_epochs(step)
    if not epochs:
        database.record_duration(_kind(step), seconds)
    elif done < epochs and not json.loads(step.params).get("patience"):
        database.record_duration(_kind(step), seconds / (epochs - done))


def all_epochs(step: Step) -> int:
    """Return the number of epochs of a training; 0 for other steps."""
    params = json.loads(step.params) if step.trains else None
    found = params.get(EPOCHS) if isinstance(params, dict) else None
    return found if isinstance(found, int) else 0


def finished_epochs(step: Step, scratch: Path) -> int:
    """Return how many epochs of a training are finished, by its working folder."""
    work = scratch / "work"
    if not (step.trains and os.path.isdir(work)):
        return 0
    return max(_saved_epochs(work / name) for name in STATES)


def _kind(step: Step) -> str:
    return f"{step.module} per epoch" if all_epochs(step) else step.module


def _saved_epochs(path: Path) -> int:
    """Return the number of finished epochs in a saved state; 0 without a readable one."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return 0
    except OSError:
        return 0
    used = [(op, arg) for op, arg in read_operations(path) or () if "PUT" not in op]
    pairs = itertools.pairwise(used)
    numbers = [number for (_, name), (_, number) in pairs if name == EPOCHS]
    return next((number for number in numbers if isinstance(number, int)), 0)
