"""Describes at which epoch an interrupted training continues, for `plan` and when a run is ended,
without executing its files.
"""

import itertools
import json
import os
import stat
from pathlib import Path

from buildsys.execution.places import Workspace
from buildsys.execution.session.step_executor import StepExecutor
from buildsys.graph import Step
from buildsys.steps.lib.families.torch_file import read_operations

STATES = ("state.pt", "last.pt")
"""Files in which trainings save what the next epoch needs: Ultralytics', YOLOX's."""
EPOCHS = "epochs"
"""Their key for the number of finished epochs, and the parameter with the number of all."""


def describe_resumption(workspace: Workspace, step: Step, key: str) -> str:
    """Return at which epoch an interrupted training would continue; empty if it would not.

    `key`: its action key.
    """
    work = workspace.scratch / key / "work"
    if not (step.trains and key and os.path.isdir(work)):
        return ""
    done = max(_finished_epochs(work / name) for name in STATES)
    params = json.loads(step.params)
    every = params.get(EPOCHS) if isinstance(params, dict) else None
    if not done or not isinstance(every, int):
        return ""
    if done >= every:
        return "continues after its last epoch"
    return f"continues at epoch {done + 1} of {every}"


def describe_trainings(workspace: Workspace, executor: StepExecutor) -> str:
    """Return a line for each training that ran on this machine when the run was ended.

    Called in the handler of a signal: it takes no lock.
    """
    lines = []
    for step, key in tuple(executor.trainings.items()):
        if step.id in executor.runner.workers:
            continue
        where = describe_resumption(workspace, step, key)
        then = where or "begins again, because no epoch was finished"
        lines.append(f"{executor.stages[step.id]}: the next run {then}")
    return "\n".join(lines)


def _finished_epochs(path: Path) -> int:
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
