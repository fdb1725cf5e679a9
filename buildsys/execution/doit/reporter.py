"""doit's reporter: what happens before a run's first task and after its last, and its exit code."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidTask
from doit.task import Task

from buildsys.errors import CannotWrite
from buildsys.execution import children
from buildsys.execution.doit.commandline import REPORT, arguments
from buildsys.execution.doit.current import session, wishes
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, annotate, exit_code, render_table, write_summary
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.report import stamp


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
        children.end_on_signals(self._interrupted)
        try:
            self._lock.enter_context(exclusive(current.workspace))
        except CannotWrite as error:
            raise InvalidTask(str(error)) from error
        self._holds_lock = True
        asked = [name for name in selected if name.startswith("build:")]
        self.builds = [name.removeprefix("build:") for name in asked]
        self.named = any(argument not in ("run", "build") for argument in arguments())
        if not self.named:
            self.builds = [*current.labels]
        plans = [current.plans[build] for build in self.builds if build in current.plans]
        asked_for = {plan.recipe for plan in plans} if self.named else set()
        for diagnostic in current.loaded.diagnostics:
            if not self.named or Path(diagnostic.path).stem in asked_for:
                print(diagnostic.render(), file=sys.stderr)
                if wishes().github:
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
        current.remember()
        rows = current.rows(self.builds)
        rows += [] if self.named else current.broken_rows()
        code = exit_code(rows, self.named, wishes().strict)
        if any(d.severity == "error" for d in current.loaded.common):
            code = code or 1  # the workspace itself has a mistake, whatever was built
        try:
            write_summary(current.workspace, rows)
        except CannotWrite as error:
            print(error, file=sys.stderr)
            code = 1
        said, is_whole = _report(current, rows)
        code = code or (1 if REPORT in arguments() and not is_whole else 0)
        current.console.close()
        if rows:
            print(render_table(rows), file=self.out, flush=True)
        if said:
            print("\n".join(said), file=self.out, flush=True)
        if wishes().github:
            print("\n".join(annotate(rows)), file=self.out, flush=True)
        current.close()
        self._lock.close()
        if code or self.failed:
            raise SystemExit(code or 1)


def _report(current: Session, rows: list[Row]) -> tuple[list[str], bool]:
    """build/report, where anything may have changed: what there is to say, whether it is whole."""
    idle = bool(rows) and all(row.status == "up-to-date" for row in rows)
    asked = REPORT in arguments()
    page = f"report: build/report/{'index.html' if stamp.mode() == 'pages' else 'report.md'}"
    if idle and stamp.is_current(current.workspace, current.labels):
        return [page] * asked, True
    from buildsys.report.writing import finish_run

    said, is_whole = finish_run(current, rows)
    return said or [page] * asked, is_whole
