"""Describes at which epoch an interrupted training continues, for `plan` and when a run is ended,
without executing its files.
"""

from buildsys.execution.places import Workspace
from buildsys.execution.running.durations import all_epochs, finished_epochs
from buildsys.execution.session.step_executor import StepExecutor
from buildsys.graph import Step


def describe_resumption(workspace: Workspace, step: Step, key: str) -> str:
    """Return at which epoch an interrupted training would continue; empty if it would not.

    `key`: its action key.
    """
    done = finished_epochs(step, workspace.scratch / key) if key else 0
    every = all_epochs(step)
    if not done or not every:
        return ""
    if done >= every:
        return f"only ends the training: all {every} epochs are done"
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
