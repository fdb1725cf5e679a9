"""Executes the steps of a run: decides each, runs the stale ones, and records their cost."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from buildsys.errors import (
    BuildsysError,
    InternalError,
    Interrupted,
    MissingBytes,
    NotAsLocked,
    StepFailed,
    Waiting,
)
from buildsys.execution import unexpected
from buildsys.execution.places import Workspace
from buildsys.execution.running.durations import LastSeconds, finished_epochs, usual_seconds
from buildsys.execution.running.process import CommandRunner
from buildsys.execution.running.runner import EnsureEnv, Runner
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_names import shorten, stage_names
from buildsys.execution.session.step_times import StepTimes
from buildsys.execution.settings.cluster import find_cluster
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.lock_differences import no_line
from buildsys.execution.state.recording import Record
from buildsys.execution.store.store import Store
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.graph import BuildPlan, Decision, Status, Step, StepResult
from buildsys.lockfile import Lock
from buildsys.text import duration

if TYPE_CHECKING:  # not needed by a run on this machine alone
    from buildsys.execution.cluster.executor import ClusterExecutor

T = TypeVar("T")
_MOST_REPAIRS = 50
"""How often one reader may have a step made again: each time it may find another missing file."""
_MADE_HERE = "the same step ran for another build"
_MADE_ELSEWHERE = "another run has finished the same step"
_MADE_BEFORE = "its result was there already"
"""With a cluster: made by another run, or by a worker that was lost after it had finished."""


class StepExecutor:
    """Runs steps in the order in which they are requested; inputs that were lost are made again."""

    def __init__(
        self,
        plans: tuple[BuildPlan, ...],
        state: State,
        runner: Runner,
        console: Console,
        record: Record,
        stages: dict[str, str],
        cluster: "ClusterExecutor | None",
    ) -> None:
        """`stages`: step id -> its name in messages; `cluster`: runs steps on other machines."""
        self.state, self.runner, self.console, self.record = state, runner, console, record
        self.stages, self.cluster = stages, cluster
        self._repairing = threading.RLock()  # one repair at a time: they share working folders
        self.built: set[str] = set()
        self._times = StepTimes()
        self.failures: dict[str, str] = {}
        self.details: dict[str, str] = {}
        """Short causes of failure for the builds' rows."""
        self.interrupted: set[str] = set()
        """Steps that ended because what ran them ended; they did not fail themselves."""
        self.not_in_lock: dict[str, str] = {}
        """Reasons by training that was not started: buildsys.lock has no line for it and must not
        change.
        """
        self.running: set[str] = set()
        self.trainings: dict[Step, str] = {}
        """The action keys of the trainings that have begun and not ended."""
        self._undecided: set[str] = set()
        self._makers: dict[str, str] = {}
        """By action key: the first step of this run that was made under it."""
        self._recipes: dict[Step, set[str]] = {}
        """By training: the recipes that use it."""
        for plan in plans:
            for step in (step for step in plan.steps if step.trains):
                self._recipes.setdefault(step, set()).add(plan.recipe)

    def explain(self, error: BaseException, doing: str) -> str:
        """Return a sentence about an unexpected error; its traceback is written to a log."""
        return unexpected.explain(error, doing, self.record.workspace.root)

    def include(self, step: Step, build: str) -> None:
        """Add a step that belongs to no plan; it is run like those that do."""
        self.state.include(step)
        self.stages[step.id] = f"{step.stage} ({build})"

    def needs_run(self, step: Step) -> bool:
        """Return whether a step has to run, as far as it can be decided now."""
        try:
            status = self.state.decide(step).status
        except BuildsysError:
            return True
        except UNEXPECTED as error:
            if step.id not in self._undecided:
                self._undecided.add(step.id)
                self._fail(step, self.explain(error, f"checking {self.stages[step.id]}"))
            return True
        return status.may_run

    def open(self, steps: Iterable[Step]) -> bool:
        """Connect to the cluster, if there is one and any of the steps has to run or waits.

        Called before the first of these steps. Returns whether that may have changed what has to
        run. Raises BuildsysError.
        """
        if self.cluster is None or not any(self._wants_machine(step) for step in steps):
            return False
        self.cluster.open()
        self.state.drop_undone()
        return True

    def close(self) -> None:
        """Close the connection to the cluster, after the last step of a run."""
        if self.cluster is not None:
            self.cluster.close()

    def _wants_machine(self, step: Step) -> bool:
        with contextlib.suppress(BuildsysError, *UNEXPECTED):  # the step itself reports the error
            status = self.state.decide(step).status
            return status.may_run or status == Status.WAITING
        return False

    def run_step(self, step: Step) -> None:
        """Execute a step if it has to run. Raises BuildsysError, and records the failure."""
        name = self.stages[step.id]
        if step.id in self._undecided:
            raise StepFailed(self.failures[step.id])
        try:
            self._run_if_due(step, name)
        except Interrupted as error:
            self.running.discard(step.id)
            self.interrupted.add(step.id)
            self.console.finish(name, f"interrupted: {error}")
            raise
        except BuildsysError as error:
            if isinstance(error, StepFailed) and error.detail:
                self.details[step.id] = error.detail
            self._fail(step, str(error))
            raise
        except UNEXPECTED as error:
            self._fail(step, self.explain(error, f"making {name}"))
            raise StepFailed(self.failures[step.id]) from error

    def _run_if_due(self, step: Step, name: str) -> None:
        decision = self._decide_with_inputs(step)
        if not decision.status.is_due:
            return
        if step.trains:
            self._check_lock(step)
        reason = shorten(decision.reasons)
        maker = self._makers.setdefault(decision.key, step.id)

        def start() -> None:
            self._times.start(step.id)
            self.running.add(step.id)
            if step.trains:
                self.trainings[step] = decision.key
            usual = self.usual_seconds(step, decision.key)
            self.console.start(name, self._beginning(step, reason), usual)

        def execute() -> StepResult | None:
            nonlocal decision
            # an input may have been made again in the meantime
            decision = self._decide_with_inputs(step)
            if not decision.status.is_due:
                return None
            result: StepResult | None = None
            try:
                result = (self.cluster or self.runner).execute(
                    step, start, lambda *report: self.console.progress(name, *report)
                )
            finally:  # a repair of the inputs is not this step's time
                self._times.end(step.id, result.seconds if result is not None else None)
            return result

        try:
            result = self.retry_with_bytes(execute)
        except Waiting as error:  # no worker appeared that meets the requirements
            self.state.drop_undone()
            if self.state.decide(step).status != Status.WAITING:
                raise
            self.console.print_line(str(error))
            return
        finally:
            self.running.discard(step.id)
            self.trainings.pop(step, None)
        if result is None and decision.status in (Status.REJECTED, Status.WAITING):
            self.console.finish(name, f"not made: {shorten(decision.reasons)}")
            return
        if result is None:
            ours = maker != step.id and (maker in self.built or maker in self.running)
            theirs = _MADE_ELSEWHERE if self.cluster is None else _MADE_BEFORE
            self.console.finish(name, _MADE_HERE if ours else theirs)
            self.record_training(step)
            return
        self.built.add(step.id)
        self.record_training(step)
        outcome = f"done in {duration(result.seconds)}{self._place(step)}"
        self.console.finish(name, outcome if result.passed else f"{outcome}: the check failed")

    def usual_seconds(self, step: Step, key: str, last: LastSeconds | None = None) -> float | None:
        """Return how long a step will take under an action key, if known; a training continues.

        `last`: the database's durations, if they are looked up repeatedly.
        """
        done = finished_epochs(step, self.runner.workspace.scratch / key) if key else 0
        return usual_seconds(last or self.state.database.duration, step, done)

    def spent(self, step: Step) -> float:
        """Return the seconds that this run has spent on a step, also while it runs."""
        return self._times.spent(step.id)

    def _beginning(self, step: Step, reason: str) -> str:
        """Return where a step starts, if not on this machine, and the reason."""
        worker = self.runner.workers.get(step.id)
        return f"on {worker}, {reason}" if worker else reason

    def _place(self, step: Step) -> str:
        """Return where a step runs, if not on this machine."""
        worker = self.runner.workers.get(step.id)
        return f" on {worker}" if worker else ""

    def _fail(self, step: Step, text: str) -> None:
        """Print and record that a step failed."""
        self.running.discard(step.id)
        self.failures[step.id] = text
        self.console.finish(self.stages[step.id], f"failed\n{text}")

    def has_made(self, plan: BuildPlan) -> bool:
        """Return whether this run has made any of the plan's steps."""
        return any(step.id in self.built for step in plan.steps)

    def read(self, step: Step, output: str) -> bytes:
        """Return the bytes of a file output; the step runs first if it has to."""
        return self.retry_with_bytes(lambda: self.state.read(step.id, output))

    def fetch(self, step: Step, output: str, target: Path) -> None:
        """Copy an output, a file or a folder, to `target`; the step runs first if it has to."""
        self.retry_with_bytes(lambda: self.state.fetch(step.id, output, target))

    def retry_with_bytes(self, action: Callable[[], T]) -> T:
        """Call `action`, which reads from the store; files that the store lost are made again.

        `action` is called again after each repair, and must itself decide and judge again: results
        may differ. Raises BuildsysError; Waiting where a step cannot run here.
        """
        hopeless: set[str] = set()
        repairs = Counter[str]()
        while max(repairs.values(), default=0) < _MOST_REPAIRS:
            try:
                return action()
            except MissingBytes as missing:
                step = self.state.steps[missing.step]
                repairs[step.id] += 1
                if step.id in hopeless:  # making it again did not help
                    raise self._refusal(step) from missing
                with self._repairing:
                    self.state.require_bytes(step.id)
                    self.run_step(step)
                if self.state.result(step.id) is None:
                    hopeless.add(step.id)
        raise StepFailed("the store keeps losing files; check its disk")

    def _refusal(self, step: Step) -> BuildsysError:
        """Return why a step was not made although nothing failed."""
        decision = self.state.decide(step)
        if decision.status == Status.WAITING:
            return Waiting(f"{self.stages[step.id]} waits for {decision.waits_for}")
        return StepFailed(f"{self.stages[step.id]} cannot be made: {decision.status}")

    def _check_lock(self, step: Step) -> None:
        """Raise NotAsLocked, before a training starts, if it must not be recorded."""
        missing = self.record.missing_line(step, self._recipes.get(step, set()))
        if missing:
            self.not_in_lock[step.id] = no_line(missing)
            raise NotAsLocked(
                f"{no_line(missing)}, and the file must not change: the step was not started"
            )

    def record_training(self, step: Step) -> None:
        """Record a step's training in buildsys.lock; does nothing for a step that does not
        train.
        """
        if not step.trains:
            return
        recipes = self._recipes.get(step, set())
        name = self.stages[step.id]
        self.record.add_training(
            step, recipes, lambda words: self.console.print_line(f"{name}: {words}")
        )

    def _decide_with_inputs(self, step: Step) -> Decision:
        """Make inputs again that were lost since doit checked them, then decide."""
        decision = self.state.decide(step)
        if decision.status != Status.PENDING:
            return decision
        with self._repairing:
            for item in step.inputs:
                if item.step:
                    self.run_step(self.state.steps[item.step])
            decision = self.state.decide(step)  # before another reader drops an input again
        if decision.status == Status.PENDING:
            raise InternalError(f"{step.stage} still waits for inputs although they exist")
        return decision


def make_executor(
    workspace: Workspace,
    plans: tuple[BuildPlan, ...],
    database: Database,
    store: Store,
    lock: Lock,
    run: CommandRunner,
    ensure: EnsureEnv,
) -> StepExecutor:
    """Return an executor of these plans' steps, with its own state, console and record."""
    state, console = State(plans, database, store, lock), Console()
    stages, settings, cluster = stage_names(plans), find_cluster(workspace), None
    runner = Runner(workspace, state, console.print_line, run, ensure, stages)
    if settings is not None:
        from buildsys.execution.cluster.executor import ClusterExecutor

        cluster = ClusterExecutor(runner, settings)
    record = Record(workspace, plans, state, lock)
    return StepExecutor(plans, state, runner, console, record, stages, cluster)
