"""doit's entry: `doit`, `doit list`, `doit build:ID`, `doit -n 2`."""

from buildsys.execution.doit.tasks import DOIT_CONFIG, tasks

__all__ = ["DOIT_CONFIG", "task_builds"]


def task_builds():
    """Every recipe for every target."""
    yield from tasks()
