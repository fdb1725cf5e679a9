"""One run over a workspace: finds the work, does it build by build, and reports a row for each."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from buildsys.errors import BuildsysError, NotAsLocked
from buildsys.execution.packages import variants
from buildsys.execution.packages.figures import Figures, write_figures
from buildsys.execution.places import Workspace
from buildsys.execution.running import isolation, process
from buildsys.execution.running.durations import LastSeconds
from buildsys.execution.running.runner import EnsureEnv, finished_folders
from buildsys.execution.session.loading import load_plans
from buildsys.execution.session.package_publisher import PackagePublisher
from buildsys.execution.session.step_executor import make_executor
from buildsys.execution.session.step_order import remaining_seconds, run_seconds
from buildsys.execution.session.summary import Row, render_not_as_locked, settled_row
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.execution.settings.locked_variable import read_variable
from buildsys.execution.settings.stores import default_store
from buildsys.execution.state import published
from buildsys.execution.state.database import Database
from buildsys.execution.state.lock_differences import (
    differences,
    missing_lines,
    never_trained,
)
from buildsys.execution.state.plans import Plans
from buildsys.execution.state.recording import training_notes
from buildsys.execution.state.settled import Settled, forget_settled, keep_settled
from buildsys.execution.store.store import Store
from buildsys.execution.store.unpacked import used_folders
from buildsys.execution.store.workspaces import register
from buildsys.execution.tools import environments
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.files import remove_tree, stat_text
from buildsys.graph import (
    BuildPlan,
    Plan,
    SelectionPlan,
    Step,
    WaitingPlan,
    build_plans,
    candidates_of,
    steps_of,
)
from buildsys.lockfile import read_lock, short_key
from buildsys.outcome import HAS_MISTAKE, Kind, Outcome
from buildsys.text import duration


class Session:
    """Holds everything that a run needs, from plans to result rows.

    `executor` runs the steps, `publisher` fills the packages' folders, `record` writes
    buildsys.lock.
    """

    def __init__(
        self,
        root: Path,
        run: process.CommandRunner = process.run_command,
        ensure: EnsureEnv = environments.ensure,
        settled: Settled | None = None,
        plans: Plans | None = None,
        *,
        locked: bool = False,
        pushes: bool = False,
    ) -> None:
        """`settled`: recipes without stale steps; they are not read.

        `plans`: used instead of the plans of the workspace's recipes. `locked`: buildsys.lock must
        not change (as with BUILDSYS_LOCKED). `pushes`: see `find_remote`.
        """
        self.workspace = Workspace(root.resolve())
        stat = stat_text(str(self.workspace.lock))
        lock = read_lock(self.workspace.lock)  # a malformed lock file ends the run before it begins
        self.workspace.check_own()
        isolation.read_variable()
        self.locked = locked or read_variable()
        self.settled = dict(settled or {})
        store = default_store(self.workspace, pushes=pushes)
        self.loaded = plans or self._load(store, run)
        self.plans = {plan.build: plan for plan in self.loaded.plans}
        self._settled = {row.id: row for rows in self.settled.values() for row in rows}
        self.labels = {build: row.label for build, row in self._settled.items()}
        self.labels |= {plan.build: plan.label for plan in self.loaded.plans}
        self.labels = dict(sorted(self.labels.items()))  # settled or not, the order is the same
        self.workspace.claim()
        self.database = Database(self.workspace.state / "state.sqlite")
        built = build_plans(self.loaded.plans)
        register(store, self.workspace.root)
        self.executor = make_executor(
            self.workspace, built, self.database, store, lock, run, ensure
        )
        self.state, self.console = self.executor.state, self.executor.console
        store.print_line = self.console.print_line
        self.record = self.executor.record
        self.record.first_stat = self.record.stat = stat
        self.record.locked = self.locked
        self.publisher = PackagePublisher(
            self.workspace, self.plans, self.state, self.executor, self.console
        )
        self.parallel = 1
        """How many steps run at a time, for the estimate of a run."""
        self.interrupted = False
        self.stopped_at = ""
        """The stage at which an unexpected error ended the run for all unfinished builds."""
        self._refused: dict[str, str] = {}
        """Why a locked run may not begin, by build."""
        self.asked: list[str] = []
        self._first_builds: dict[Step, str] = {}
        self._figures: dict[str, Figures] = {}
        self.is_recorded = True
        """Whether buildsys.lock could be read and written at the end of the run."""

    def _load(self, store: Store, run: process.CommandRunner) -> Plans:
        """Return the plans of the workspace's recipes, after unpacking data that has changed."""
        loaded = load_plans(self.workspace, frozenset(self.settled))
        folders = used_folders(build_plans(loaded.plans))
        if folders:  # most workspaces use no archives
            from buildsys.execution.session.dataset_archives import unpack_changed

            if unpack_changed(self.workspace.root, store, folders, run):
                return load_plans(self.workspace, frozenset(self.settled))
        return loaded

    def _with_candidates(self, builds: list[str]) -> tuple[Plan, ...]:
        plans = tuple(self.plans[build] for build in builds if build in self.plans)
        return plans + tuple(each for plan in plans for each in candidates_of(plan, self.plans))

    def look_up(self, builds: list[str]) -> None:
        """Query a shared store about those steps of some builds that have no result here."""
        self.state.look_up(build_plans(self._with_candidates(builds)))

    def check_lock(self, builds: list[str]) -> None:
        """Raise NotAsLocked if the builds need another buildsys.lock than the one that must not
        change.

        Only looks at what can be decided without running a step.
        """
        if not self.locked:
            return
        self.record.read()
        plans = build_plans(self._with_candidates(builds))
        self.look_up(builds)
        found = self._unlike_lock(plans)
        if found:
            for plan in plans:
                own = self._unlike_lock((plan,))
                self._refused |= {plan.build: own[0]} if own else {}
            raise NotAsLocked(render_not_as_locked(found))

    def _unlike_lock(self, plans: tuple[BuildPlan, ...]) -> list[str]:
        """Return which lines buildsys.lock lacks, or has with other values."""
        found = [f"it has no line `{key}`" for key in missing_lines(self.state, plans)]
        found += [f"it has no training of {recipe}" for recipe in never_trained(self.state, plans)]
        return [*found, *differences(self.state, plans)]

    def prepare(self, builds: list[str]) -> None:
        """Request the input files of a run's steps and print how many steps will run."""
        self.asked, self._first_builds, self._figures = builds, {}, {}
        self.record.read()
        plans = self._with_candidates(builds)
        self.look_up(builds)
        self.state.request_inputs(build_plans(plans))
        steps = {step.id: step for plan in plans for step in steps_of(plan)}
        last = functools.cache(self.database.duration)
        usual = functools.cache(partial(self._usual_seconds, last))
        self.executor.runner.urgencies = remaining_seconds(steps.values(), usual)
        if self.executor.open(steps.values()):
            self.state.request_inputs(build_plans(plans))
        to_run = [s for s in steps.values() if self.executor.needs_run(s)]
        if to_run:
            seconds = run_seconds(to_run, usual, self.parallel)
            guess = f", about {duration(seconds)} by earlier runs" if seconds else ""
            self.console.print_line(f"{len(to_run)} of {len(steps)} steps to run{guess}")
        for warning in training_notes(self.state, tuple(steps.values())):
            self.console.print_line(warning)

    def _usual_seconds(self, last: LastSeconds, step: Step) -> float | None:
        key = ""
        if step.trains:
            with contextlib.suppress(*UNEXPECTED):  # `needs_run` reports it
                key = self.state.decide(step).key
        return self.executor.usual_seconds(step, key, last)

    def forget(self, builds: list[str]) -> None:
        """Discard what is recorded as up to date, and have the next run fill these builds' folders
        again.
        """
        with exclusive(self.workspace):
            for build in builds:
                published.forget(self.workspace, build)
            forget_settled(self.workspace)

    def whole_recipes(self, plans: Iterable[BuildPlan]) -> frozenset[str]:
        """Return the recipes, among the plans' own, whose builds are all planned.

        Lock entries that no plan of such a recipe uses are unused.
        """
        partial = {plan.recipe for plan in self.loaded.plans if isinstance(plan, WaitingPlan)}
        return frozenset(plan.recipe for plan in plans) - partial - set(self.loaded.broken)

    def forget_trainings(self) -> None:
        """Ignore recorded trainings made by other tools or code; new trainings replace them in this
        run.
        """
        self.state.retrain = self.record.replaces = True

    def build(self, builds: list[str]) -> list[Row]:
        """Run everything that some builds need, without doit, one step after the other.

        A failed step does not stop the others.
        """
        self.check_lock(builds)
        self.prepare(builds)
        for build in builds:
            plan = self.plans[build]
            members = (*candidates_of(plan, self.plans), plan)
            with contextlib.suppress(BuildsysError):
                for step in (step for member in members for step in steps_of(member)):
                    self.executor.run_step(step)
                if not self.publisher.settle(plan):
                    self.publisher.publish(plan)
        self.record_results()
        return self.rows(builds)

    def record_results(self) -> None:
        """Finish a run: share its results, add new lines to buildsys.lock, and record settled
        recipes.
        """
        self.publisher.reject_red()
        if self.state.has_turned_red:  # recipes that were not checked may share the verdict
            self.settled = {}
        self.state.store.finish_run()
        store, find_result = self.state.store, self.state.known_result
        for folder in finished_folders(self.workspace, store, find_result):
            remove_tree(folder)
        outcomes = {b: o for b, o in self.publisher.outcomes.items() if o.good and b in self.plans}
        idle = build_plans(self.plans[b] for b, o in outcomes.items() if o.kind == Kind.UP_TO_DATE)
        made = build_plans(self.plans[b] for b in outcomes)
        try:
            again = self.record.add(idle)
            if again:
                keys = ", ".join(map(short_key, again))
                self.console.print_line(
                    f"buildsys.lock lacked lines of up-to-date results; added: {keys}"
                )
            self.record.add(made)
            if (
                self.record.replaces
            ):  # what was made earlier with the code of now, and is no step of this run
                asked = build_plans(self._with_candidates(self.asked))  # including rejected ones
                for change in self.record.take(asked, self.whole_recipes(asked)):
                    self.console.print_line(f"buildsys.lock: {change}")
        except BuildsysError as error:  # the results exist; only the record is missing
            self.console.print_line(f"buildsys.lock was not updated: {error}")
            self.is_recorded = False
            return  # the next run checks all these builds again
        done = {b for b, o in outcomes.items() if not o.differs} - self.publisher.incomplete
        keep_settled(
            self.workspace,
            self.settled,
            self.loaded,
            self.record,
            done,
            lambda plan: write_figures(self._figures_of(plan)),
        )

    def rows(self, builds: list[str]) -> list[Row]:
        """Return one row per requested build, in order; settled builds are up to date.

        After `interrupted` no figures are read: the handler of a signal may take no lock.
        """
        return [
            self._find_row(self.plans[build])
            if build in self.plans
            else settled_row(self._settled[build])
            for build in builds
            if build in self.labels
        ]

    def broken_rows(self) -> list[Row]:
        """Return one row per recipe that has a mistake."""
        return [Row(id=name, outcome=HAS_MISTAKE, seconds=0.0) for name in self.loaded.broken]

    def stop(self, error: BaseException, stage: str, doing: str) -> None:
        """Print what ends the run; the unfinished builds fail at `stage`."""
        self.stopped_at = self.stopped_at or stage
        self.console.print_line(self.executor.explain(error, doing))

    def close(self) -> None:
        """Release what the run holds: connections, display, database."""
        self.executor.close()
        self.state.store.finish_run(wait=False)
        self.console.close()
        self.database.close()

    def _find_row(self, plan: Plan) -> Row:
        """Return a build's row, even if an error occurs while it is made."""
        try:
            row = self._row(plan)
            return row if self.interrupted else self._with_figures(plan, row)
        except UNEXPECTED as error:
            if not self.interrupted:
                self.console.print_line(
                    self.executor.explain(error, f"writing the row of {plan.build}")
                )
            outcome = Outcome(kind=Kind.FAILED, subject="summary")
            return Row(id=plan.build, outcome=outcome, seconds=0.0)

    def _row(self, plan: Plan) -> Row:
        spent = sum(self.executor.spent(step) for step in steps_of(plan))
        row = Row(
            id=plan.build,
            outcome=self.publisher.outcomes.get(plan.build) or self._unfinished(plan),
            seconds=round(spent, 1),
            candidate=plan.build in self.publisher.candidates,
        )
        if not row.good and not row.is_loser:
            earlier = self.workspace.package(plan.build).is_dir()
            waits = row.outcome.kind == Kind.WAITING
            return dataclasses.replace(row, earlier=earlier and waits)
        return dataclasses.replace(row, proved=not isinstance(plan, BuildPlan) or plan.is_proved)

    def _with_figures(self, plan: Plan, row: Row) -> Row:
        """Return the row of a build that is done with the figures of its package."""
        if not row.good and not row.is_loser:
            return row
        return dataclasses.replace(row, **vars(self._figures_of(plan)))

    def _figures_of(self, plan: Plan) -> Figures:
        """Return the figures of a build that is done, read once."""
        if plan.build not in self._figures:
            self._figures[plan.build] = variants.figures(self.workspace, self.state, plan)
        return self._figures[plan.build]

    def _first_build(self, step: Step) -> str | None:
        """Return the first requested build that has the step."""
        if not self._first_builds:  # computed once: thousands of builds may have failed
            plans = [self.plans[build] for build in reversed(self.asked) if build in self.plans]
            self._first_builds = {s: plan.build for plan in plans for s in steps_of(plan)}
        return self._first_builds.get(step)

    def _not_begun(self, plan: Plan) -> Outcome:
        """Return the outcome of a build in a run that buildsys.lock does not allow to begin."""
        for each in (plan, *candidates_of(plan, self.plans)):
            if each.build in self._refused:
                return Outcome(kind=Kind.NOT_IN_LOCK, detail=self._refused[each.build])
        return Outcome(kind=Kind.NOT_FINISHED, detail="other builds are not in buildsys.lock")

    def _unfinished(self, plan: Plan) -> Outcome:
        """Return why a build has no outcome: it failed, a shared step failed, or a signal ended the
        run.
        """
        if self.interrupted and not any(
            step.id in self.executor.failures for step in steps_of(plan)
        ):
            running = [step.stage for step in steps_of(plan) if step.id in self.executor.running]
            return Outcome(kind=Kind.INTERRUPTED, subject=running[0] if running else "")
        for step in (
            s for each in (plan, *candidates_of(plan, self.plans)) for s in steps_of(each)
        ):
            if step.id in self.executor.not_in_lock:
                detail = self.executor.not_in_lock[step.id]
                return Outcome(kind=Kind.NOT_IN_LOCK, subject=step.stage, detail=detail)
        for name in plan.candidates if isinstance(plan, SelectionPlan) else ():
            if name not in self.plans or self.publisher.outcomes.get(name) is None:
                return Outcome(kind=Kind.BLOCKED, subject=name)
        for step in steps_of(plan):
            if step.id in self.executor.interrupted:
                return Outcome(kind=Kind.INTERRUPTED, subject=step.stage)
            if step.id in self.executor.failures:
                first = self._first_build(step)
                if first in (None, plan.build):
                    detail = self.executor.details.get(step.id, "")
                    return Outcome(kind=Kind.FAILED, subject=step.stage, detail=detail)
                return Outcome(kind=Kind.BLOCKED, subject=first)
        if self._refused:
            return self._not_begun(plan)
        if self.stopped_at:
            return Outcome(kind=Kind.FAILED, subject=self.stopped_at)
        return Outcome(kind=Kind.NOT_FINISHED, detail="the run ended before it started")
