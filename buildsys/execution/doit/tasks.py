"""Plans as doit tasks: one private task a step, one task `build:<id>` a build.

doit orders, parallelizes and selects; it decides nothing. Every task asks the session whether it is
up to date, and doit's own database stays in memory: it trusts file times and forgets a killed run.
"""

import shutil
import sys
from collections.abc import Iterator
from typing import Any

from doit.exceptions import InvalidTask, TaskFailed
from doit.task import Task

from buildsys.errors import BuildsysError
from buildsys.execution.doit.commandline import (
    COMMANDS,
    REPORT,
    arguments,
    check_arguments,
    is_run,
    selects,
)
from buildsys.execution.doit.current import Wishes, session, wish
from buildsys.execution.doit.reporter import Reporter
from buildsys.execution.session.session import Session
from buildsys.graph import Plan, Step


def run(line: list[str], wishes: Wishes) -> int:
    """A run of doit in this process over the workspace in the current folder; the exit code."""
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    wish(wishes)
    sys.argv[1:] = line
    module = {"DOIT_CONFIG": DOIT_CONFIG, "task_builds": tasks}
    try:
        return int(DoitMain(ModuleTaskLoader(module)).run(line) or 0)
    except SystemExit as end:
        return int(end.code or 0)


def tasks() -> Iterator[Task]:
    """Everything that can be built. Called by doit when it loads dodo.py."""
    try:
        current = session()
    except BuildsysError as error:
        raise InvalidTask(str(error)) from None
    check_arguments(current.labels, current.loaded)
    names = [name for name in arguments() if name not in COMMANDS]
    for rows in current.settled.values():
        for build, label in rows:
            if is_run() and not any(selects(name, [f"build:{build}"]) for name in names):
                continue  # doit needs not hear of what needs nothing; the summary tells of it
            yield Task(
                f"build:{build}",
                actions=None,
                uptodate=[True],
                doc=label,
                clean=[(current.publisher.clean, [build])],
            )
    seen: set[str] = set()
    for plan in current.loaded.plans:
        for step in plan.steps:
            if step.id not in seen:
                seen.add(step.id)
                # one recipe's samples may be another's calibration: a task has one name
                yield _step_task(current, current.state.steps[step.id])
        yield _build_task(current, plan)
    yield Task(
        REPORT,
        actions=None,
        doc="build/report from what is recorded; builds nothing by itself",
        clean=[(shutil.rmtree, [current.workspace.build / REPORT], {"ignore_errors": True})],
    )


def _step_task(current: Session, step: Step) -> Task:
    return Task(
        _step_name(step),
        actions=[(_guard, [current.executor.run_step, step])],
        uptodate=[lambda: not current.executor.needs_run(step)],
        task_dep=[_step_name(current.state.steps[key]) for key in _producers(step)],
        doc=current.executor.stages[step.id],
    )


def _build_task(current: Session, plan: Plan) -> Task:
    members = [current.plans[name] for name in plan.candidates if name in current.plans]
    last = [step for p in (*members, plan) if p.package for step in (p.package, *p.proofs)]
    depends = [_step_name(current.state.steps[step]) for step in dict.fromkeys(last)]
    depends += [f"build:{member.build}" for member in members]
    return Task(
        f"build:{plan.build}",
        actions=[(_guard, [current.publisher.publish, plan])],
        uptodate=[lambda: current.publisher.is_published(plan)],
        clean=[(current.publisher.clean, [plan.build])],
        task_dep=depends,
        doc=plan.label,
    )


def _step_name(step: Step) -> str:
    return f"_{step.stage}-{step.id[:12]}"


def _producers(step: Step) -> list[str]:
    return sorted({item.step for item in step.inputs if item.step})


def _guard(action: Any, argument: Any) -> Any:
    """Our errors as doit's failures; they have been reported already."""
    try:
        action(argument)
    except BuildsysError as error:
        return TaskFailed(str(error))
    return None


DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "continue": True,
    "par_type": "thread",
    "reporter": Reporter,
    "verbosity": 2,
}
