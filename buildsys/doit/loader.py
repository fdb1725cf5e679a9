"""doit's task loader: makes a run's session, tasks and reporter from doit's parsed arguments.

`doit` finds it by `loader = buildsys`, in [GLOBAL] of doit.cfg or [tool.doit] of pyproject.toml.
Without that setting, doit's default loader reads dodo.py, whose `DOIT_CONFIG` and `task_builds`
come from `dodo` below.
"""

import contextlib
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile
from pathlib import Path

from doit import Globals
from doit.cmd_base import Command, DodoTaskLoader
from doit.dependency import Dependency
from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidCommand, InvalidDodoFile, InvalidTask
from doit.task import Task

from buildsys.doit.names import check_names, check_variables
from buildsys.doit.reporter import Reporter, make_reporter
from buildsys.doit.run import UNKNOWN, Request, Run, RunOptions
from buildsys.doit.tasks import IN_PROCESSES, Checker, make_tasks
from buildsys.errors import BuildsysError, annotations
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, render_table
from buildsys.execution.state.build_patterns import task_pattern
from buildsys.execution.state.fingerprint import recipe_names
from buildsys.execution.unexpected import UNEXPECTED, explain
from buildsys.outcome import Kind, Outcome
from buildsys.printing import guard
from buildsys.write_errors import FOLDER_GONE

_DEFAULTS: Mapping[str, object] = {
    "backend": "sqlite3",
    "dep_file": ":memory:",
    "continue": True,
    "par_type": "thread",
    "verbosity": 2,
}
_WAITING = 16
"""The number of steps that may wait for their turn, beside those that run."""


class Loader(DodoTaskLoader):  # type: ignore[misc]
    """Loads every build of a workspace, and the tasks of its own dodo.py.

    `root`: the builds of this workspace only; otherwise doit's options name it. `typed`: what a
    person typed, by pattern of tasks.
    """

    def __init__(
        self,
        root: Path | None = None,
        options: RunOptions | None = None,
        typed: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._root = root
        self._typed = typed or {}
        self._options = options or RunOptions()
        self.cmd_options = () if root else DodoTaskLoader.cmd_options

    def setup(self, opt_values: dict[str, object]) -> None:
        """Store all options of the command; doit adds those of `load_doit_config`."""
        try:
            Path.cwd()
        except FileNotFoundError as error:
            raise InvalidDodoFile(FOLDER_GONE) from error
        self._values = opt_values
        self.namespace: dict[str, object] = {}
        if self._root is None:
            self._read_dodo(opt_values)
        self._run = Run(self._root or Path.cwd(), self._options)

    def load_doit_config(self) -> dict[str, object]:
        """Return our settings, overridden by those of dodo.py, and those that a run requires."""
        return {**_DEFAULTS, **super().load_doit_config(), **_required(self._run)}

    def load_tasks(self, cmd: Command, pos_args: list[str]) -> list[Task]:
        """Return every build, or those that are named.

        Raises InvalidTask for a name without a match. Raises SystemExit after an unexpected error,
        which is already printed.
        """
        try:
            own = list(super().load_tasks(cmd, pos_args))
            with _explained(self._run, cmd.execute_tasks):
                return self._load(cmd, pos_args, own)
        except BaseException:
            cmd.dep_manager.close()  # doit leaves this to the command, which does not begin
            raise

    def _load(self, cmd: Command, pos_args: list[str], own: list[Task]) -> list[Task]:
        if self._values.get("par_type") == "process":
            raise InvalidTask(IN_PROCESSES)
        reporter = self._values.get("reporter")
        if cmd.execute_tasks and not (
            isinstance(reporter, type) and issubclass(reporter, Reporter)
        ):
            raise InvalidTask(
                "buildsys uses its own reporter, which holds the workspace lock: remove"
                f" `--reporter {reporter}`."
            )
        command = cmd.get_name()
        names = tuple(takewhile(lambda argument: not argument.startswith("-"), pos_args))
        every_plan = command == "info" or bool(self._values.get("list_deps"))
        request = Request(names=names, runs=cmd.execute_tasks, every_plan=every_plan)
        session = self._run.begin(request)
        tasks = list(make_tasks(self._run, all_settled=bool(own)))
        check_variables(session.labels)
        others = [
            name
            for task in (*own, *tasks)
            for name in (task.name, *(task.targets if cmd.execute_tasks else ()))
        ]
        named = [name for name in others if not name.startswith(("_", "build:"))]
        check_names(names, session.labels, named, session.loaded, self._typed)
        clashing = {task.name for task in own} & {task.name for task in tasks}
        if clashing:
            raise InvalidTask(f"`{min(clashing)}` is a task of buildsys; rename that of dodo.py.")
        _record_files(cmd.dep_manager, tasks)
        parallel = self._values.get("num_process")
        session.parallel = max(parallel, 1) if isinstance(parallel, int) else 1
        if not own:
            self._queue_steps(session)
        if command == "list":  # a recipe with a mistake has no tasks to list
            for diagnostic in session.loaded.errors:
                print(session.loaded.render(diagnostic), file=guard(sys.stderr))
        if command == "forget":
            self._forget(cmd, session, own)
        return own + tasks

    def _queue_steps(self, session: Session) -> None:
        """Let doit start more tasks than `-n` says, so that the most urgent of them can run.

        Tasks of a dodo.py would all run at once, and after a failure that stops the run, the queue
        would still be run: there, doit decides alone.
        """
        parallel = self._values.get("num_process")
        goes_on = bool(self._values.get("continue"))
        if isinstance(parallel, int) and parallel > 1 and goes_on and not session.executor.cluster:
            session.executor.runner.admission.most = parallel
            self._run.publishing = threading.Semaphore(parallel)
            self._values["num_process"] = parallel + _WAITING

    def _forget(self, cmd: Command, session: Session, own: list[Task]) -> None:
        """Handle `doit forget`: doit only clears its own database, not ours."""
        builds = [f"build:{build}" for build in session.labels]
        cmd.sel_tasks = cmd.sel_tasks or [task.name for task in own] + builds
        if not (cmd.sel_default_tasks and self._values.get("forget_disable_default")):
            everything = bool(self._values.get("forget_all"))
            chosen = builds if everything else cmd.sel_tasks
            session.forget([name.removeprefix("build:") for name in chosen])

    def _read_dodo(self, opt_values: Mapping[str, object]) -> None:
        """Read the names of dodo.py except ours; doit changes to its folder.

        The default file may be missing.
        """
        file = str(opt_values["dodoFile"])
        try:
            super().setup(opt_values)
        except InvalidDodoFile:
            if file != "dodo.py" or opt_values["cwdPath"] or os.path.lexists(file):
                raise
        except ImportError as error:
            if not (error.name or "").startswith("buildsys."):
                raise InvalidDodoFile(f"{file} cannot be imported: {error}") from error
            raise InvalidDodoFile(
                f"{file} imports {error.name} of another release of buildsys ({error}): delete"
                f" {file} and run `buildsys init`, which writes the one of this release."
            ) from error
        self.namespace = {
            name: value
            for name, value in self.namespace.items()
            if not (inspect.isfunction(value) and value.__module__ == __name__)
        }


def dodo() -> tuple[dict[str, object], Callable[[], Iterator[Task]]]:
    """Return DOIT_CONFIG and `task_builds` for a dodo.py, for doit's default loader.

    That loader passes no arguments on: every plan of the current folder is loaded, archives of
    datasets are not fetched, and doit alone checks names. `Loader` replaces both.
    """
    run = Run(Path.cwd(), RunOptions())

    def task_builds() -> Iterator[Task]:
        """Yield every recipe for every target."""
        with _explained(run, True):
            session = run.begin(UNKNOWN)
            check_variables(session.labels)
            tasks = list(make_tasks(run, all_settled=True))
            _record_files(Globals.dep_manager, tasks)
        yield from tasks

    return {**_DEFAULTS, **_required(run)}, task_builds


def run_builds(root: Path, names: list[str], parallel: int, options: RunOptions) -> int:
    """Run doit in this process over builds of a workspace, by id, name or pattern.

    Returns the exit code, possibly doit's own 3.
    """
    for name in names:
        if "=" in name:  # doit would treat it as a variable, and build everything
            print(f"ERROR: `{name}` is not a build; see `doit list`.", file=guard(sys.stderr))
            return 3
    typed = dict(zip(map(task_pattern, names), names, strict=True))
    main = DoitMain(Loader(root, options, typed), config_filenames=())
    try:
        return int(main.run(["run", "-n", str(parallel), *typed]) or 0)
    except SystemExit as end:
        return int(end.code or 0)


@contextlib.contextmanager
def _explained(run: Run, runs: bool) -> Iterator[None]:
    """Print errors while plans and tasks are made. Raises InvalidTask, SystemExit.

    `runs`: builds were requested: without plans, the rows are those of recipes.
    """
    try:
        yield
    except (InvalidTask, InvalidDodoFile, InvalidCommand):
        raise
    except BuildsysError as error:  # doit would exit with 3, its code for wrong names
        print(error, file=guard(sys.stderr))
        for line in annotations(error) if run.options.github else ():
            guard(sys.stdout).command(line)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was started", file=guard(sys.stderr))
        raise SystemExit(128 + signal.SIGINT) from None
    except UNEXPECTED as error:
        text = explain(error, "planning", run.workspace.root)
        print(text, file=guard(sys.stderr))
        if runs:
            failed = Outcome(kind=Kind.FAILED, subject="planning")
            names = sorted(recipe_names(run.workspace))
            rows = [Row(id=name, outcome=failed, seconds=0.0) for name in names]
            print(render_table(rows), file=guard(sys.stdout), flush=True)
        raise SystemExit(1) from error


def _required(run: Run) -> dict[str, object]:
    return {"reporter": make_reporter(run), "check_file_uptodate": Checker}


def _record_files(dependencies: Dependency, tasks: list[Task]) -> None:
    """Record all our files in doit's database: doit treats a file without a record as changed."""
    for task in tasks:
        if task.file_dep:
            dependencies.save_success(task)
