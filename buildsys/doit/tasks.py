"""Plans as doit tasks: one private task per step, one task `build:<id>` per build.

doit orders, parallelizes and selects; it decides nothing. Every task asks the session whether it is
up to date. Its files are listed for doit's own commands (`info`, `list --deps`). doit's database
stays in memory, because it relies on file times and loses the state of a killed run.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from doit.dependency import MD5Checker
from doit.exceptions import TaskFailed
from doit.task import Task

from buildsys.doit.names import REPORT, matches
from buildsys.doit.run import Run
from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace
from buildsys.execution.session.package_publisher import PackagePublisher
from buildsys.execution.session.session import Session
from buildsys.execution.state.plans import RecipePlans
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.graph import Plan, Step, build_plans, candidates_of, steps_of
from buildsys.printing import guard
from buildsys.report import stamp

IN_PROCESSES = "steps are processes already, so `-n N` is enough: remove `-P process`."
"""The message for a separate process of doit, where a task has no session."""


class ShownFile(str):
    """A file that a build reads or writes, for doit to show; it never decides anything."""

    __slots__ = ()


class Checker(MD5Checker):  # type: ignore[misc]
    """doit's check of files by content; our files count as present and unchanged."""

    def exists(self, file_path: str) -> bool:
        """Return whether a target exists."""
        return isinstance(file_path, ShownFile) or bool(super().exists(file_path))

    def info(self, file_path: str) -> os.stat_result | None:
        """Return a dependency's stat. Raises OSError if it is missing, which doit reports."""
        return None if isinstance(file_path, ShownFile) else super().info(file_path)

    def check_modified(
        self, file_path: str, file_stat: os.stat_result | None, state: object
    ) -> bool:
        """Return whether a dependency has changed since the last success."""
        if isinstance(file_path, ShownFile):
            return False
        return bool(super().check_modified(file_path, file_stat, state))

    def get_state(self, dep: str, current_state: object) -> object:
        """Return what doit records of a dependency."""
        return "" if isinstance(dep, ShownFile) else super().get_state(dep, current_state)


class Reported(TaskFailed):  # type: ignore[misc]
    """The failure of a step or a build that was already reported."""


@dataclass(frozen=True, kw_only=True)
class UpToDate:
    """Whether a task has nothing to do; `doit info` prints it where that is false."""

    ask: Callable[[], bool]
    where: str

    def __call__(self) -> bool:
        return self.ask()

    def __repr__(self) -> str:
        return self.where


def make_tasks(run: Run, all_settled: bool) -> Iterator[Task]:
    """Yield everything that can be built.

    `all_settled`: include builds that need no work, even in a run that names none of them.
    """
    current, names = run.session, run.request.names
    for rows in current.settled.values():
        for row in rows:
            task = _settled_task(current, row.id, row.label)
            if (
                all_settled
                or not run.request.runs
                or any(matches(name, [task.name, *task.targets]) for name in names)
            ):
                yield task
    seen: set[str] = set()
    recipes = {plan.build: recipe for recipe in current.loaded.recipes for plan in recipe.plans}
    for plan in current.loaded.plans:
        for step in steps_of(plan):
            if step.id not in seen:
                seen.add(step.id)
                # one recipe's samples may be another's calibration: a task has one name
                yield _step_task(run, current.state.steps[step.id])
        yield _build_task(run, recipes[plan.build], plan)
    yield Task(
        REPORT,
        actions=None,
        uptodate=[
            UpToDate(
                ask=lambda: stamp.is_current(current.workspace, current.labels),
                where="the next run writes the report",
            )
        ],
        doc="write build/report from recorded results, without building",
        targets=[ShownFile("build/report/report.md")],
        clean=[(remove_report, [current.workspace])],
    )


def remove_package(publisher: PackagePublisher, build: str, dryrun: bool) -> None:
    """Remove a build's folder (`doit clean`); a later run restores it from the store."""
    folder = publisher.workspace.package(build)
    if os.path.lexists(folder):
        print(f"build:{build} - removing {folder.relative_to(publisher.workspace.root)}")
        if not dryrun:
            # doit keeps what an action prints until it ends: a wait would be silent
            with contextlib.redirect_stderr(guard(sys.__stderr__)):
                publisher.clean(build)


def remove_report(workspace: Workspace, dryrun: bool) -> None:
    """Remove build/report (`doit clean`); the next run writes it again."""
    folder = workspace.build / REPORT
    if os.path.lexists(folder):
        print(f"{REPORT} - removing build/{REPORT}")
        if not dryrun:
            shutil.rmtree(workspace.own(folder), ignore_errors=True)


def _settled_task(current: Session, build: str, label: str) -> Task:
    return Task(
        f"build:{build}",
        actions=None,
        uptodate=[True],
        targets=_package_files(current, build, everything=False),
        clean=[(remove_package, [current.publisher, build])],
        doc=label,
    )


def _step_task(run: Run, step: Step) -> Task:
    current = run.session
    return Task(
        _step_name(step),
        actions=[(_report_failure, [run, partial(current.executor.run_step, step)])],
        uptodate=[
            UpToDate(
                ask=lambda: not current.executor.needs_run(step), where="`buildsys plan` shows why"
            )
        ],
        task_dep=[_step_name(current.state.steps[key]) for key in _producers(step)],
        doc=current.executor.stages[step.id],
    )


def _build_task(run: Run, recipe: RecipePlans, plan: Plan) -> Task:
    current = run.session
    members = candidates_of(plan, current.plans)
    last = [step for p in build_plans((*members, plan)) for step in (p.package, *p.proofs)]
    depends = [_step_name(current.state.steps[step]) for step in dict.fromkeys(last)]
    depends += [f"build:{member.build}" for member in members]
    return Task(
        f"build:{plan.build}",
        actions=[(_report_failure, [run, partial(_publish, run, plan)])],
        uptodate=[
            UpToDate(
                ask=lambda: current.publisher.settle(plan),
                where=f"`buildsys plan {plan.build}` shows why",
            )
        ],
        file_dep=_files_read(current, recipe, plan),
        targets=_package_files(current, plan.build, everything=run.request.every_plan),
        clean=[(remove_package, [current.publisher, plan.build])],
        task_dep=depends,
        doc=plan.label,
    )


def _files_read(current: Session, recipe: RecipePlans, plan: Plan) -> list[ShownFile]:
    """Return the files of the recipe, and the sources of its steps."""
    found = {path for path, _ in recipe.files}
    for source in (item.source for step in steps_of(plan) for item in step.inputs):
        if source is not None:
            found |= {os.path.join(source.path, part) for part in source.parts or ("",)}
    root = f"{current.workspace.root}{os.sep}"
    return [ShownFile(path.removeprefix(root).rstrip(os.sep)) for path in sorted(found)]


def _package_files(current: Session, build: str, *, everything: bool) -> list[ShownFile]:
    """Return the package's files relative to the root: its manifest, or `everything` present."""
    if build in current.publisher.candidates:
        return []  # it has no folder
    folder = current.workspace.package(build)
    shown = folder.relative_to(current.workspace.root)
    found = {"manifest.json"}
    if everything:
        found |= {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
    return [ShownFile(f"{shown}/{name}") for name in sorted(found)]


def _step_name(step: Step) -> str:
    return f"_{step.stage}-{step.id[:12]}"


def _producers(step: Step) -> list[str]:
    return sorted({item.step for item in step.inputs if item.step})


def _publish(run: Run, plan: Plan) -> None:
    with run.publishing:
        run.session.publisher.publish(plan)


def _report_failure(run: Run, action: Callable[[], object]) -> TaskFailed | None:
    """Return our errors as doit's failures; they were already reported."""
    if os.getpid() != run.process:
        return TaskFailed(IN_PROCESSES)
    try:
        action()
    except BuildsysError as error:
        return Reported(str(error))
    except UNEXPECTED as error:  # steps and packages are named in their errors
        run.session.stop(error, "run", "building")
        return Reported(str(error))
    return None
