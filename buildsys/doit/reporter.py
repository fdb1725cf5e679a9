"""doit's reporter: prepares a run before its first task, ends it after the last, sets the exit
code.
"""

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from typing import IO, Protocol

from doit.exceptions import InvalidTask, UnmetDependency
from doit.task import Task

from buildsys.doit.names import REPORT
from buildsys.doit.run import UNKNOWN, Run
from buildsys.doit.tasks import Reported
from buildsys.errors import BuildsysError, CannotWrite, NotAsLocked, annotations
from buildsys.execution import signals
from buildsys.execution.session.interrupted_trainings import describe_trainings
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import (
    Row,
    annotate,
    exit_code,
    render_table,
    unread_note,
    write_summary,
)
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.graph import wanted_archives
from buildsys.outcome import UP_TO_DATE, Kind, Outcome
from buildsys.printing import annotation, guard, printed
from buildsys.report import stamp

_NO_SUCH_TASK = 3
"""doit's own exit code for an unknown name."""
_PREPARATION = "preparation"
"""The stage of a failed build that the run did not reach."""
_NO_LOADER = (
    "archives of datasets are only fetched by buildsys' loader for doit: run `buildsys init`, which"
    " writes doit.cfg, or `buildsys build`"
)


class Failure(Protocol):
    """doit's record of a failed task or teardown."""

    def get_msg(self) -> str:
        """Return the text to print."""


class Reporter:
    """Receives doit's events of a run; people read the session's console and the summary
    instead.
    """

    desc = "steps as they run, a summary at the end"

    def __init__(self, run: Run, outstream: IO[str]) -> None:
        self.run = run
        self.out = guard(outstream)
        self.builds: list[str] = [*run.session.labels]
        self.names: tuple[str, ...] = ()
        self.failed = False
        self._lock = contextlib.ExitStack()
        self._runs = False
        self._refusal = 1

    def initialize(self, task_list: dict[str, Task], selected: list[str]) -> None:
        """Prepare the run before the first task.

        `selected`: names of tasks, with patterns expanded; doit repeats those that several match.
        """
        if not selected:  # our loader refuses that earlier; doit's default loader does not check
            self._refusal = _NO_SUCH_TASK
            raise InvalidTask("the pattern matches no task; see `doit list`.")
        try:
            self._choose(task_list, selected)
            self._begin()
        except InvalidTask:
            raise
        except NotAsLocked as error:
            mistakes = not self.names and bool(self.run.session.loaded.errors)
            self._refusal = 1 if mistakes else error.exit_code
            if self.run.options.github:
                self.out.command(annotation("error", str(error), file="buildsys.lock"))
            self.run.session.stopped_at = _PREPARATION
            raise InvalidTask(printed(str(error))) from error
        except BuildsysError as error:
            self._refusal = error.exit_code
            self.run.session.stopped_at = _PREPARATION
            for line in annotations(error) if self.run.options.github else ():
                self.out.command(line)
            raise InvalidTask(printed(str(error))) from error
        except UNEXPECTED as error:
            self.run.session.stop(error, _PREPARATION, "preparing the run")
            raise InvalidTask("nothing was built") from error

    def _choose(self, task_list: dict[str, Task], selected: list[str]) -> None:
        """Record which builds this run is about."""
        self.names = self.run.request.names
        if not self.names and selected != list(task_list):
            self.names = tuple(selected)
        if self.names:
            asked = [name for name in selected if name.startswith("build:")]
            self.builds = [name.removeprefix("build:") for name in dict.fromkeys(asked)]

    def _begin(self) -> None:
        """Take the lock, print mistakes in recipes, prepare the run."""
        current = self.run.session
        trainings = partial(describe_trainings, current.workspace, current.executor)
        signals.end_on_signals(self._interrupted, details=trainings)
        try:
            self._lock.enter_context(exclusive(current.workspace))
        except CannotWrite as error:
            raise InvalidTask(printed(str(error))) from error
        plans = [current.plans[build] for build in self.builds if build in current.plans]
        asked_for = {plan.recipe for plan in plans} if self.names else set()
        loaded = current.loaded
        asked_of = loaded.concerning(asked_for) if self.names else loaded.diagnostics
        for diagnostic in asked_of:
            print(loaded.render(diagnostic), file=guard(sys.stderr))
            if self.run.options.github:
                self.out.command(diagnostic.annotate())
        if self.run.request is UNKNOWN and wanted_archives(plans):
            print(_NO_LOADER, file=guard(sys.stderr))
        self._runs = True
        current.check_lock(self.builds)
        current.prepare(self.builds)

    def _interrupted(self) -> None:
        """Handle a signal: print the summary, unless another run holds the lock."""
        if self._runs:
            current = self.run.session
            current.interrupted = True
            write_summary(current.workspace, current.rows(self.builds))

    def get_status(self, task: Task) -> None:
        """Called when doit checks whether a task is up to date."""

    def execute_task(self, task: Task) -> None:
        """Called when a task starts."""

    def add_success(self, task: Task) -> None:
        """Called when a task has succeeded."""

    def skip_uptodate(self, task: Task) -> None:
        """Called for an up-to-date task."""

    def skip_ignore(self, task: Task) -> None:
        """Called for a task that the user ignores with `doit ignore`."""

    def teardown_task(self, task: Task) -> None:
        """Called for a teardown; we have none."""

    def add_failure(self, task: Task, fail: Failure) -> None:
        """Print the failure of a dodo.py's task; our own were already reported."""
        self.failed = True
        if not isinstance(fail, Reported | UnmetDependency):
            print(fail.get_msg(), file=guard(sys.stderr))

    def cleanup_error(self, exception: Failure) -> None:
        """Called when a teardown has failed."""
        print(exception.get_msg(), file=guard(sys.stderr))

    def runtime_error(self, msg: str) -> None:
        """Called when doit itself has an error."""
        print(msg, file=guard(sys.stderr))

    def complete_run(self) -> None:
        """End the run, whatever happened; sets our own exit codes."""
        current = self.run.session
        error = sys.exception()
        if error is not None:  # doit drops it when this method ends
            current.stop(error, "run", "building")
            self.failed = True
        if not self._runs and not current.stopped_at:
            current.close()
            self._lock.close()
            raise SystemExit(self._refusal)
        code = 1
        with self._ending("ending the run"):
            code = self._finish()
            if current.stopped_at == _PREPARATION:
                code = self._refusal
        for close in (current.console.close, current.close, self._lock.close):
            with self._ending("ending the run"):
                close()
        self._runs = False
        if self.out.complaint():
            print(self.out.complaint(), file=guard(sys.stderr))
        if code or self.failed or self.out.lost:
            raise SystemExit(code or 1)

    @contextlib.contextmanager
    def _ending(self, doing: str) -> Iterator[None]:
        """Run a part of the end: an error in it is printed, and the other parts still run."""
        try:
            yield
        except BuildsysError as error:
            print(error, file=guard(sys.stderr))
            self.failed = True
        except UNEXPECTED as error:
            self.run.session.stop(error, "run", doing)
            self.failed = True

    def _finish(self) -> int:
        """Write buildsys.lock, the summary, the report and the table; returns the exit code."""
        current = self.run.session
        held = self._runs and bool(current.labels or current.loaded.recipes)
        with self._ending("recording what was built"):
            if held and current.stopped_at != _PREPARATION:
                current.record_results()
        lost = Outcome(kind=Kind.FAILED, subject="summary")
        rows = [Row(id=build, outcome=lost, seconds=0.0) for build in self.builds]
        code = 1
        with self._ending("determining the outcome of each build"):
            rows = current.rows(self.builds)
            rows += [] if self.names else current.broken_rows()
            code = exit_code(rows, bool(self.names), self.run.options.strict, current.locked)
            if not current.is_recorded:
                code = 1
            if any(d.is_error for d in current.loaded.common):
                code = code or 1  # the workspace has a mistake, independent of what was built
        with self._ending("writing build/summary.json"):
            if held:
                write_summary(current.workspace, rows)
        lines, asked = list[str](), REPORT in self.names
        with self._ending("writing the report"):
            if held:
                lines, is_whole = _report(current, rows, asked)
                code = code or (1 if asked and not is_whole else 0)
        with self._ending("ending the run"):
            current.console.close()
        table = "\n".join(f"{row.id}: {row.outcome}" for row in rows)
        with self._ending("writing the table"):
            table = render_table(rows)
            if not current.interrupted:  # the handler of a signal may take no lock
                note = unread_note((row.outcome for row in rows), current.state.store)
                table += f"\n{note}" if note else ""
        if rows:
            print(table, file=self.out, flush=True)
        if lines:
            print("\n".join(lines), file=self.out, flush=True)
        if self.run.options.github:
            for line in annotate(rows):
                self.out.command(line)
            self.out.flush()
        return code


def make_reporter(run: Run) -> type[Reporter]:
    """Return a class, as doit requires, whose reporters belong to one run."""

    class RunReporter(Reporter):
        def __init__(self, outstream: IO[str], options: dict[str, object]) -> None:
            super().__init__(run, outstream)

    return RunReporter


def _report(current: Session, rows: list[Row], asked: bool) -> tuple[list[str], bool]:
    """Update build/report if anything may have changed.

    Returns lines to print, and whether it is complete.
    """
    idle = bool(rows) and all(row.outcome == UP_TO_DATE for row in rows)
    if stamp.mode() == "none":
        return [f"no report is written: {stamp.VARIABLE} is none"] * asked, True
    page = f"report: {stamp.page()}"
    if idle and stamp.is_current(current.workspace, current.labels):
        return [page] * asked, True
    from buildsys.report.writing import finish_run

    lines, is_whole = finish_run(current, rows)
    return lines or [page] * asked, is_whole
