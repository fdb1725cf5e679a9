"""The steps of a run: each is decided, executed where it is stale, and its cost recorded."""

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
from buildsys.execution.running.process import CommandRunner
from buildsys.execution.running.runner import EnsureEnv, Runner
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_names import shorten, stage_names
from buildsys.execution.state.configured_cluster import find_cluster
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.lock_differences import no_line
from buildsys.execution.state.recording import Record
from buildsys.execution.store.store import Store
from buildsys.execution.tools.requirements import MissingForStep, missing_here
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.graph import BuildPlan, Decision, Status, Step, StepResult
from buildsys.lockfile import Lock
from buildsys.text import duration

if TYPE_CHECKING:  # a run on this machine alone does without
    from buildsys.execution.cluster.executor import ClusterExecutor

T = TypeVar("T")
_MOST_REPAIRS = 50
"""As often a step is made again for one thing that reads it: each time may find one file more."""
_MADE_HERE = "the same step ran for another build"
_MADE_ELSEWHERE = "another run has finished the same step"
_MADE_BEFORE = "its result was there already"
"""With a cluster: of another run, or of a worker that was lost after it had finished."""


class StepExecutor:
    """Runs steps in the requested order; inputs that were lost meanwhile are made again."""

    def __init__(
        self,
        plans: tuple[BuildPlan, ...],
        state: State,
        runner: Runner,
        console: Console,
        record: Record,
        stages: dict[str, str],
        cluster: "ClusterExecutor | None" = None,
    ) -> None:
        """`stages`: step id -> its name in messages; `cluster`: runs steps on other machines."""
        self.state, self.runner, self.console, self.record = state, runner, console, record
        self.stages, self.cluster = stages, cluster
        self._repairing = threading.RLock()  # one repair at a time: they share working folders
        self.built: set[str] = set()
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.details: dict[str, str] = {}
        """What a build's row says of a failure, where that is short."""
        self.interrupted: set[str] = set()
        """Steps that ended with what ran them, through no fault of theirs."""
        self.not_in_lock: dict[str, str] = {}
        """Why, by training that was not begun: buildsys.lock has no line for it, and may get none."""
        self.running: set[str] = set()
        self._undecided: set[str] = set()
        self._makers: dict[str, str] = {}
        """The step of this run that was the first to be made under an action key."""
        self._recipes: dict[Step, set[str]] = {}
        """The recipes that have a training."""
        for plan in plans:
            for step in (step for step in plan.steps if step.trains):
                self._recipes.setdefault(step, set()).add(plan.recipe)

    def explain(self, error: BaseException, doing: str) -> str:
        """A sentence for an unexpected error; its traceback is in a log from now on."""
        return unexpected.explain(error, doing, self.record.workspace.root)

    def include(self, step: Step, build: str) -> None:
        """A step that belongs to no plan, to be run like those that do."""
        self.state.include(step)
        self.stages[step.id] = f"{step.stage} ({build})"

    def needs_run(self, step: Step) -> bool:
        """Whether a step has to run, according to what is known now."""
        try:
            status = self.state.decide(step).status
        except BuildsysError:
            return True
        except UNEXPECTED as error:
            if step.id not in self._undecided:
                self._undecided.add(step.id)
                self._fail(step, self.explain(error, f"checking {self.stages[step.id]}"))
            return True
        return status in (Status.STALE, Status.PENDING, Status.MISSING)

    def open(self, steps: Iterable[Step]) -> bool:
        """Before the first of some steps: where other machines run steps, connect to them, if any step has
        to run or waits. Returns whether that may have changed what has to run. Raises BuildsysError.
        """
        due = (Status.STALE, Status.PENDING, Status.MISSING, Status.WAITING)
        if self.cluster is None or not any(self._status(step) in due for step in steps):
            return False
        self.cluster.open()
        self.state.ask_again()
        return True

    def close(self) -> None:
        """After the last step of a run."""
        if self.cluster is not None:
            self.cluster.close()

    def _status(self, step: Step) -> Status | None:
        with contextlib.suppress(BuildsysError, *UNEXPECTED):  # its step will say so
            return self.state.decide(step).status
        return None

    def run_step(self, step: Step) -> None:
        """Execute a step if it has to run. Raises BuildsysError; the failure is remembered."""
        name = self.stages[step.id]
        if step.id in self._undecided:
            raise StepFailed(self.failures[step.id])
        try:
            self._make(step, name)
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

    def _make(self, step: Step, name: str) -> None:
        decision = self._decide_with_inputs(step)
        if decision.status not in (Status.STALE, Status.MISSING):
            return
        if step.trains:
            self._check_lock(step)
        reason = shorten(decision.reasons)
        self.running.add(step.id)
        maker = self._makers.setdefault(decision.key, step.id)

        def execute() -> StepResult | None:
            nonlocal decision
            decision = self._decide_with_inputs(step)  # an input may have been made again meanwhile
            if decision.status not in (Status.STALE, Status.MISSING):
                return None
            return (self.cluster or self.runner).execute(
                step,
                lambda: self.console.start(name, step.module, self._beginning(step, reason)),
                lambda *report: self.console.progress(name, *report),
            )

        try:
            result = self.retry_with_bytes(execute)
        except Waiting as error:  # no worker came that has what it needs
            self.state.ask_again()
            if self.state.decide(step).status != Status.WAITING:
                raise
            self.console.say(str(error))
            return
        finally:
            self.running.discard(step.id)
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
        self.seconds[step.id] = result.seconds
        self.record_training(step)
        outcome = f"done in {duration(result.seconds)}{self._place(step)}"
        self.console.finish(name, outcome if result.passed else f"{outcome}: the check failed")

    def _beginning(self, step: Step, reason: str) -> str:
        """Where a step begins, if not here, and why."""
        worker = self.runner.workers.get(step.id)
        return f"on {worker}, {reason}" if worker else reason

    def _place(self, step: Step) -> str:
        """Where a step runs, if not here."""
        worker = self.runner.workers.get(step.id)
        return f" on {worker}" if worker else ""

    def _fail(self, step: Step, text: str) -> None:
        """Say that a step failed, and remember it."""
        self.running.discard(step.id)
        self.failures[step.id] = text
        self.console.finish(self.stages[step.id], f"failed\n{text}")

    def has_made(self, plan: BuildPlan) -> bool:
        """Whether this run has made any of a plan's steps."""
        return any(step.id in self.built for step in plan.steps)

    def read(self, step: Step, output: str) -> bytes:
        """The bytes of an output that is a file; the step runs first if it has to."""
        return self.retry_with_bytes(lambda: self.state.read(step.id, output))

    def fetch(self, step: Step, output: str, target: Path) -> None:
        """Copy an output, a file or a folder, to `target`; the step runs first if it has to."""
        self.retry_with_bytes(lambda: self.state.fetch(step.id, output, target))

    def retry_with_bytes(self, action: Callable[[], T]) -> T:
        """Do something that reads from the store; what the store has lost is made again, and it is done
        anew: what it asks of decisions and verdicts it asks itself, for they may be others then.

        Raises BuildsysError, Waiting where a step cannot run here.
        """
        hopeless: set[str] = set()
        repairs = Counter[str]()
        while max(repairs.values(), default=0) < _MOST_REPAIRS:
            try:
                return action()
            except MissingBytes as missing:
                step = self.state.steps[missing.step]
                repairs[step.id] += 1
                if step.id in hopeless:  # the action cannot do without it
                    raise self._refusal(step) from missing
                with self._repairing:
                    self.state.want_bytes(step.id)
                    self.run_step(step)
                if self.state.result(step.id) is None:
                    hopeless.add(step.id)
        raise StepFailed("the store keeps losing files; check its disk")

    def _refusal(self, step: Step) -> BuildsysError:
        """Why a step was not made, although nothing failed."""
        decision = self.state.decide(step)
        if decision.status == Status.WAITING:
            return Waiting(f"{self.stages[step.id]} waits for {decision.reasons[0].subject}")
        return StepFailed(f"{self.stages[step.id]} cannot be made: {decision.status}")

    def _check_lock(self, step: Step) -> None:
        """Raises NotAsLocked for a training that may not be recorded, before it begins."""
        missing = self.record.missing_line(step, self._recipes.get(step, set()))
        if missing:
            self.not_in_lock[step.id] = no_line(missing)
            raise NotAsLocked(
                f"{no_line(missing)}, and the file must not change: the step was not started"
            )

    def record_training(self, step: Step) -> None:
        """Into buildsys.lock; nothing where the step trains nothing."""
        if not step.trains:
            return
        recipes = self._recipes.get(step, set())
        name = self.stages[step.id]
        self.record.add_training(step, recipes, lambda words: self.console.say(f"{name}: {words}"))

    def _decide_with_inputs(self, step: Step) -> Decision:
        """Inputs that were lost since doit checked them: make them here, then decide."""
        decision = self.state.decide(step)
        if decision.status != Status.PENDING:
            return decision
        with self._repairing:
            for item in step.inputs:
                if item.step:
                    self.run_step(self.state.steps[item.step])
        decision = self.state.decide(step)
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
    missing: MissingForStep = missing_here,
) -> StepExecutor:
    """An executor of these plans' steps, with its own state, console and record."""
    state, console = State(plans, database, store, lock, missing), Console(database)
    stages, settings, cluster = stage_names(plans), find_cluster(workspace), None
    runner = Runner(workspace, state, console.say, run, ensure, stages)
    if settings is not None:
        from buildsys.execution.cluster.executor import ClusterExecutor

        cluster = ClusterExecutor(runner, settings)
    record = Record(workspace, plans, state, lock)
    return StepExecutor(plans, state, runner, console, record, stages, cluster)
