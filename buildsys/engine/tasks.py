"""Plans as doit tasks: one private task a step, one task `build:<id>` a build.

doit orders, parallelizes and selects; it decides nothing. Every task asks the session whether it is
up to date, and doit's own database stays in memory: it trusts file times and forgets a killed run.
"""

import contextlib
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from doit import doit_cmd
from doit.exceptions import InvalidTask, TaskFailed
from doit.task import Task

from buildsys.engine import guard, ledger
from buildsys.engine.comparing import compare
from buildsys.engine.places import Workspace
from buildsys.engine.report import stamp
from buildsys.engine.session import Session
from buildsys.engine.summary import Row, annotate, exit_code, render_table, write_summary
from buildsys.engine.turns import exclusive
from buildsys.errors import BuildsysError, CannotWrite
from buildsys.graph import Plan, Step

_OPTIONS_WITH_VALUE = frozenset({"-n", "-f", "-d", "-v", "-o", "-r", "-P", "-s"})


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a run is meant; `buildsys build` sets them, `doit` takes the defaults.

    `strict`: a build that waits is a failure, even if nobody named it; `github`: annotations;
    `retrain`: recorded trainings of other tools or code do not count; `settled`: the ledger, where it
    was read already.
    """

    strict: bool = False
    github: bool = False
    retrain: bool = False
    settled: ledger.Settled | None = None


_wishes = Wishes()
_COMMANDS = frozenset(
    {"run", "list", "info", "clean", "forget", "help", "ignore", "dumpdb", "strace",
     "tabcompletion", "reset-dep", "build"}
)  # fmt: skip
"""Words of doit's command line that name no build; `build` is the group of them all."""
_REPORT = "report"
"""A task without an action: the end of every run brings the report up to date."""


def run(arguments: list[str], wishes: Wishes) -> int:
    """A run of doit in this process over the workspace in the current folder; the exit code."""
    global _wishes
    from doit.cmd_base import ModuleTaskLoader
    from doit.doit_cmd import DoitMain

    _wishes = wishes
    sys.argv[1:] = arguments
    module = {"DOIT_CONFIG": DOIT_CONFIG, "task_builds": tasks}
    try:
        return int(DoitMain(ModuleTaskLoader(module)).run(arguments) or 0)
    except SystemExit as end:
        return int(end.code or 0)


@cache
def session() -> Session:
    """The one session of this process, for the workspace in the current folder."""
    root = Path.cwd()
    known = _wishes.settled
    settled = (
        {} if _wishes.retrain else known if known is not None else ledger.read(Workspace(root))
    )
    found = Session(root, settled=settled)
    if _is_run() and any(plan.archive and plan.waiting_for for plan in found.loaded.plans):
        found.close()
        _fetch(found)
        found = Session(root, settled=found.settled)
    if _wishes.retrain:
        found.forget_trainings()
    return found


def _fetch(current: Session) -> None:
    """The archives of the builds that are asked for; what cannot be had is waited for."""
    from buildsys.engine.remote import fetch_archive, wanted_archives

    names = [name for name in _arguments() if name not in _COMMANDS]
    plans = [
        plan for plan in current.loaded.plans
        if not names or any(_selects(name, [f"build:{plan.build}"]) for name in names)
    ]  # fmt: skip
    for url, sha256 in wanted_archives(plans):
        with contextlib.suppress(BuildsysError):  # said where it happened
            fetch_archive(current.workspace.root, url, sha256)


def tasks() -> Iterator[Task]:
    """Everything that can be built. Called by doit when it loads dodo.py."""
    try:
        current = session()
    except BuildsysError as error:
        raise InvalidTask(str(error)) from None
    _check_arguments(current)
    names = [name for name in _arguments() if name not in _COMMANDS]
    for rows in current.settled.values():
        for build, label in rows:
            if _is_run() and not any(_selects(name, [f"build:{build}"]) for name in names):
                continue  # doit needs not hear of what needs nothing; the summary tells of it
            yield Task(
                f"build:{build}", actions=None, uptodate=[True], doc=label,
                clean=[(current.shipping.clean, [build])],
            )  # fmt: skip
    seen: set[str] = set()
    for plan in current.loaded.plans:
        for step in plan.steps:
            if step.id not in seen:
                seen.add(step.id)
                # one recipe's samples may be another's calibration: a task has one name
                yield _step_task(current, current.state.steps[step.id])
        yield _build_task(current, plan)
    yield Task(
        _REPORT, actions=None, doc="build/report from what is recorded; builds nothing by itself",
        clean=[(shutil.rmtree, [current.workspace.build / _REPORT], {"ignore_errors": True})],
    )  # fmt: skip


def _step_task(current: Session, step: Step) -> Task:
    return Task(
        _step_name(step),
        actions=[(_guard, [current.making.run_step, step])],
        uptodate=[lambda: not current.making.needs_run(step)],
        task_dep=[_step_name(current.state.steps[key]) for key in _producers(step)],
        doc=current.making.stages[step.id],
    )


def _build_task(current: Session, plan: Plan) -> Task:
    members = [current.plans[name] for name in plan.candidates if name in current.plans]
    last = [step for p in (*members, plan) if p.package for step in (p.package, *p.proofs)]
    depends = [_step_name(current.state.steps[step]) for step in dict.fromkeys(last)]
    depends += [f"build:{member.build}" for member in members]
    return Task(
        f"build:{plan.build}",
        actions=[(_guard, [current.shipping.publish, plan])],
        uptodate=[lambda: current.shipping.is_published(plan)],
        clean=[(current.shipping.clean, [plan.build])],
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
    names = [f"build:{build}" for build in current.labels]
    for argument in _arguments():
        if argument not in (*_COMMANDS, _REPORT) and not _selects(argument, names):
            from buildsys.engine.selection import suggest

            for diagnostic in current.loaded.errors:
                print(diagnostic.render(), file=sys.stderr)
            recipe = argument.removeprefix("build:").split("@")[0]
            if recipe in current.loaded.broken:
                raise InvalidTask(
                    f"`{argument}` cannot be built: its recipe has a mistake, see above."
                )
            wanted = argument if argument.startswith("build:") else f"build:{argument}"
            hint = suggest(wanted, names)
            raise InvalidTask(f"`{argument}` matches no build; {hint or 'see `doit list`'}")


def _is_run() -> bool:
    """Whether doit was asked to build, not to list or explain."""
    words = [word for word in _arguments() if word in _COMMANDS]
    return not words or words[0] in ("run", "build")


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


def _report(current: Session, rows: list[Row]) -> tuple[list[str], bool]:
    """build/report, where anything may have changed: what there is to say, whether it is whole."""
    idle = bool(rows) and all(row.status == "up-to-date" for row in rows)
    asked = _REPORT in _arguments()
    page = f"report: build/report/{'index.html' if stamp.mode() == 'pages' else 'report.md'}"
    if idle and stamp.is_current(current.workspace, current.labels):
        return [page] * asked, True
    from buildsys.engine.report.writing import finish_run

    said, is_whole = finish_run(current, rows)
    return said or [page] * asked, is_whole


class Reporter:
    """doit's view of a run; what people read comes from the session's console and the summary."""

    desc = "steps as they run, a summary at the end"

    def __init__(self, outstream: Any, options: Any) -> None:
        self.out = outstream
        self.builds: list[str] = []
        self.named = False
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
        self.named = any(argument not in ("run", "build") for argument in _arguments())
        if not self.named:
            self.builds = [*current.labels]
        plans = [current.plans[build] for build in self.builds if build in current.plans]
        asked_for = {plan.recipe for plan in plans} if self.named else set()
        for diagnostic in current.loaded.diagnostics:
            if not self.named or Path(diagnostic.path).stem in asked_for:
                print(diagnostic.render(), file=sys.stderr)
                if _wishes.github:
                    print(diagnostic.annotate(), file=self.out)
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
        if not current.interrupted:
            compare(current)
        current.remember()
        rows = current.rows(self.builds)
        rows += [] if self.named else current.broken_rows()
        code = exit_code(rows, self.named, _wishes.strict)
        if any(d.severity == "error" for d in current.loaded.common):
            code = code or 1  # the workspace itself has a mistake, whatever was built
        try:
            write_summary(current.workspace, rows)
        except CannotWrite as error:
            print(error, file=sys.stderr)
            code = 1
        said, is_whole = _report(current, rows)
        code = code or (1 if _REPORT in _arguments() and not is_whole else 0)
        current.console.close()
        if rows:
            print(render_table(rows), file=self.out, flush=True)
        if said:
            print("\n".join(said), file=self.out, flush=True)
        if _wishes.github:
            print("\n".join(annotate(rows)), file=self.out, flush=True)
        current.close()
        self._lock.close()
        if code or self.failed:
            raise SystemExit(code or 1)


DOIT_CONFIG = {
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "continue": True,
    "par_type": "thread",
    "reporter": Reporter,
    "verbosity": 2,
}
