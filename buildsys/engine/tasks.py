"""Plans as doit tasks: one private task a step, one task `build:<id>` a build.

doit orders, parallelizes and selects; it decides nothing. Every task asks the session whether it is
up to date, and doit's own database stays in memory: it trusts file times and forgets a killed run.
"""

import contextlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from doit import doit_cmd
from doit.exceptions import InvalidTask, TaskFailed
from doit.task import Task

from buildsys.engine import guard
from buildsys.engine.session import Session, exclusive
from buildsys.engine.summary import render_table, write_summary
from buildsys.errors import BuildsysError, CannotWrite, Rejected, Waiting
from buildsys.graph import Plan, Step

_OPTIONS_WITH_VALUE = frozenset({"-n", "-f", "-d", "-v", "-o", "-r", "-P", "-s"})


@cache
def session() -> Session:
    """The one session of this process, for the workspace in the current folder."""
    return Session(Path.cwd())


def tasks() -> Iterator[Task]:
    """Everything that can be built. Called by doit when it loads dodo.py."""
    try:
        current = session()
    except CannotWrite as error:
        raise InvalidTask(str(error)) from error
    _check_arguments(current)
    seen: set[str] = set()
    for plan in current.loaded.plans:
        for step in plan.steps:
            if step.id not in seen:
                seen.add(step.id)
                yield _step_task(current, step)
        yield _build_task(current, plan)


def _step_task(current: Session, step: Step) -> Task:
    return Task(
        _step_name(step),
        actions=[(_guard, [current.run_step, step])],
        uptodate=[lambda: not current.needs_run(step)],
        task_dep=[_step_name(current.state.steps[key]) for key in _producers(step)],
        doc=current.stages[step.id],
    )


def _build_task(current: Session, plan: Plan) -> Task:
    depends = [_step_name(current.state.steps[plan.package])] if plan.package else []
    return Task(
        f"build:{plan.build}",
        actions=[(_guard, [current.publish, plan])],
        uptodate=[lambda: current.is_published(plan)],
        clean=[(current.clean, [plan])],
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


def _check_arguments(current: Session) -> None:
    """A name that nothing has is an error with a suggestion, never a green run."""
    assigned = getattr(doit_cmd, "_CMDLINE_VARS", None) or {}
    if assigned:
        name, value = next(iter(assigned.items()))
        raise InvalidTask(f"`{name}={value}` names no build; see `doit list`.")
    if re.search(r"(-P|--parallel-type)[ =]?process\b", " ".join(sys.argv[1:])):
        raise InvalidTask("steps are processes already; `-n N` is enough: leave `-P process` out.")
    names = [f"build:{build}" for build in current.plans]
    for argument in _arguments():
        if argument.startswith("build:") and not _selects(argument, names):
            from buildsys.authoring.document import did_you_mean

            for diagnostic in current.loaded.errors:
                print(diagnostic.render(), file=sys.stderr)
            hint = did_you_mean(argument, names)
            raise InvalidTask(f"`{argument}` matches no build; {hint or 'see `doit list`'}")


def _selects(pattern: str, names: list[str]) -> bool:
    from fnmatch import fnmatchcase

    return any(fnmatchcase(name, pattern) for name in names)


def _arguments() -> list[str]:
    """The names on doit's command line."""
    found, skip = [], False
    for argument in sys.argv[1:]:
        if skip:
            skip = False
        elif argument.startswith("-"):
            skip = argument in _OPTIONS_WITH_VALUE
        else:
            found.append(argument)
    return found


class Reporter:
    """doit's view of a run; what people read comes from the session's console and the summary."""

    desc = "steps as they run, a summary at the end"

    def __init__(self, outstream: Any, options: Any) -> None:
        self.out = outstream
        self.builds: list[str] = []
        self.named: set[str] = set()
        self.failed = False
        self._lock = contextlib.ExitStack()
        self._holds_lock = False

    def initialize(self, task_list: dict[str, Task], selected: list[str]) -> None:
        """Before the first task."""
        current = session()
        guard.end_on_signals(self._interrupted)
        try:
            self._lock.enter_context(exclusive(current.workspace))
        except CannotWrite as error:
            raise InvalidTask(str(error)) from error
        self._holds_lock = True
        asked = [name for name in selected if name.startswith("build:")]
        self.builds = [name.removeprefix("build:") for name in asked]
        if any(argument != "run" for argument in _arguments()):
            self.named = set(self.builds)
        asked_for = {current.plans[build].recipe for build in self.named}
        for diagnostic in current.loaded.diagnostics:
            if not asked_for or Path(diagnostic.path).stem in asked_for:
                print(diagnostic.render(), file=sys.stderr)
        current.prepare(self.builds)

    def _interrupted(self) -> None:
        """A signal ends the run: the summary says where; it is another run's while that has the lock."""
        if self._holds_lock:
            current = session()
            current.interrupted = True
            write_summary(current.workspace, current.rows(self.builds))

    def get_status(self, task: Task) -> None:
        """Doit asks whether a task is up to date."""

    def execute_task(self, task: Task) -> None:
        """A task begins."""

    def add_success(self, task: Task) -> None:
        """A task ended well."""

    def skip_uptodate(self, task: Task) -> None:
        """Nothing to do."""

    def skip_ignore(self, task: Task) -> None:
        """The user told doit to ignore it."""

    def teardown_task(self, task: Task) -> None:
        """We have no teardowns."""

    def add_failure(self, task: Task, fail: Any) -> None:
        """Ours were reported where they happened; anything else is a bug and keeps its traceback."""
        self.failed = True
        if fail.__class__.__name__ not in ("TaskFailed", "UnmetDependency"):
            print(fail.get_msg(), file=sys.stderr)

    def cleanup_error(self, exception: Any) -> None:
        """A teardown failed."""
        print(exception.get_msg(), file=sys.stderr)

    def runtime_error(self, msg: str) -> None:
        """Doit itself met an error."""
        print(msg, file=sys.stderr)

    def complete_run(self) -> None:
        """The summary, whatever happened; our own exit codes where doit has none."""
        current = session()
        rows = current.rows(self.builds)
        failed = any(row.status.startswith("failed") for row in rows)
        try:
            write_summary(current.workspace, rows)
        except CannotWrite as error:
            print(error, file=sys.stderr)
            failed = True
        current.console.close()
        if rows:
            print(render_table(current.workspace, rows), file=self.out, flush=True)
        waiting = [row for row in rows if row.status.startswith("waiting")]
        current.close()
        self._lock.close()
        if failed:
            return
        if any(row.status.startswith("rejected") for row in rows):
            raise SystemExit(Rejected.exit_code)
        if any(row.id in self.named for row in waiting):
            raise SystemExit(Waiting.exit_code)
        if current.loaded.errors and not self.named:
            raise SystemExit(1)


DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "continue": True,
    "par_type": "thread",
    "reporter": Reporter,
    "verbosity": 2,
}
