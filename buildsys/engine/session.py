"""One run over a workspace: decides, executes, publishes, and knows what became of every build."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from buildsys.engine import process, publish, toolenvs
from buildsys.engine.console import Console, duration
from buildsys.engine.database import Database
from buildsys.engine.faults import writing
from buildsys.engine.places import Workspace
from buildsys.engine.plans import load_plans
from buildsys.engine.runner import EnsureEnv, Runner
from buildsys.engine.state import State
from buildsys.engine.store import default_store
from buildsys.engine.summary import Row
from buildsys.errors import BuildsysError, CannotWrite, InternalError, MissingBytes, StepFailed
from buildsys.graph import Decision, Plan, Reason, Status, Step

T = TypeVar("T")
_MOST_REPAIRS = 50
_SHOWN_REASONS = 3


class Session:
    """The effects of a run, in the order in which doit asks for them."""

    def __init__(
        self,
        root: Path,
        run: process.CommandRunner = process.run_command,
        ensure: EnsureEnv = toolenvs.ensure,
    ) -> None:
        self.workspace = Workspace(root.resolve())
        self.loaded = load_plans(self.workspace)
        self.plans = {plan.build: plan for plan in self.loaded.plans}
        self.database = Database(self.workspace.state / "state.sqlite")
        self.state = State(self.loaded.plans, self.database, default_store())
        self.console = Console(self.database)
        self.runner = Runner(self.workspace, self.state, self.console.say, run, ensure)
        self.stages = self._stage_names()
        self._repairing = threading.RLock()  # one repair at a time: they share working folders
        self.built: set[str] = set()
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.outcomes: dict[str, str] = {}
        self.running: set[str] = set()
        self.interrupted = False

    def prepare(self, builds: list[str]) -> None:
        """Before the first step of a run: which bytes will be read, what there is to do."""
        plans = tuple(self.plans[build] for build in builds if build in self.plans)
        self.state.settle(tuple(plan for plan in plans if not plan.waiting_for))
        steps = {step.id: step for plan in plans for step in plan.steps}
        to_run = [s for s in steps.values() if self.needs_run(s)]
        if to_run:
            known = [self.database.duration(step.module) for step in to_run]
            total = duration(sum(seconds or 0 for seconds in known))
            guess = f", about {total} by earlier runs" if any(known) else ""
            self.console.say(f"{len(to_run)} of {len(steps)} steps to run{guess}")

    def needs_run(self, step: Step) -> bool:
        """Whether a step has to run, as far as can be said now."""
        try:
            status = self.state.decide(step).status
        except BuildsysError:
            return True
        return status in (Status.STALE, Status.PENDING, Status.MISSING)

    def run_step(self, step: Step) -> None:
        """Execute a step if it has to run. Raises BuildsysError; the failure is remembered."""
        name = self.stages[step.id]
        try:
            decision = self.state.decide(step)
            if decision.status == Status.PENDING:
                decision = self._make_inputs(step)
            if decision.status not in (Status.STALE, Status.MISSING):
                return
            reason = _shorten(decision.reasons)
            self.running.add(step.id)
            result = self._with_bytes(
                lambda: self.runner.execute(
                    step,
                    lambda: self.console.start(name, step.module, reason),
                    lambda *report: self.console.progress(name, *report),
                )
            )
            self.running.discard(step.id)
        except (BuildsysError, OSError) as error:
            self.running.discard(step.id)
            self.failures[step.id] = str(error)
            self.console.finish(name, f"failed\n{error}")
            if isinstance(error, BuildsysError):
                raise
            raise StepFailed(f"{step.stage}: {error}") from error
        if result is None:
            self.console.finish(name, "another run has made it meanwhile")
            return
        self.built.add(step.id)
        self.seconds[step.id] = result.seconds
        outcome = f"done in {duration(result.seconds)}"
        self.console.finish(name, outcome if result.passed else f"{outcome}: the gate is red")

    def _make_inputs(self, step: Step) -> Decision:
        """Inputs that were lost since doit asked for them: make them here, then decide."""
        with self._repairing:
            for item in step.inputs:
                if item.step:
                    self.run_step(self.state.steps[item.step])
        decision = self.state.decide(step)
        if decision.status == Status.PENDING:
            raise InternalError(f"{step.stage} still waits for inputs that were made")
        return decision

    def _with_bytes(self, action: Callable[[], T]) -> T:
        """Do something that reads from the store; what the store has lost is made again first."""
        for _ in range(_MOST_REPAIRS):
            try:
                return action()
            except MissingBytes as missing:
                with self._repairing:
                    self.state.want_bytes(missing.step)
                    self.run_step(self.state.steps[missing.step])
        raise StepFailed("the store keeps losing what is put into it; look at its disk")

    def is_published(self, plan: Plan) -> bool:
        """Whether a build needs nothing at all."""
        if plan.waiting_for or self._is_red(plan):
            return False
        try:
            done = publish.is_published(self.workspace, self.state, plan)
        except BuildsysError:
            return False
        if done:
            self.outcomes[plan.build] = "up-to-date"
        return done

    def publish(self, plan: Plan) -> None:
        """Fill a build's folder, or take it away when its gate is red. Raises BuildsysError."""
        if plan.waiting_for:
            self.outcomes[plan.build] = f"waiting for {plan.waiting_for}"
            return
        try:
            with writing(f"the package of {plan.build}", self.workspace.build):
                self._publish(plan)
        except (CannotWrite, OSError) as error:
            self.outcomes[plan.build] = "failed at publish"
            self.console.say(f"{plan.build} could not be published: {error}")
            if isinstance(error, CannotWrite):
                raise
            raise BuildsysError(f"{plan.build} could not be published: {error}") from error

    def _publish(self, plan: Plan) -> None:
        if self._is_red(plan):
            failures = self._with_bytes(lambda: publish.reject(self.workspace, self.state, plan))
            self.outcomes[plan.build] = f"rejected by gate: {'; '.join(failures)}"
            self.console.say(f"{plan.build}: {self.outcomes[plan.build]}")
            return
        built = frozenset(self.built)
        self._with_bytes(
            lambda: publish.publish(self.workspace, self.state, plan, self.runner, built)
        )
        made = any(step.id in self.built for step in plan.steps)
        self.outcomes[plan.build] = "built" if made else "restored"

    def clean(self, plan: Plan) -> None:
        """Take a build's folder away; a later run restores it from the store."""
        with exclusive(self.workspace):
            publish.withdraw(self.workspace, self.state, plan)

    def build(self, builds: list[str]) -> list[Row]:
        """Everything that some builds need, one step after the other; a failure stops no other."""
        self.prepare(builds)
        for build in builds:
            plan = self.plans[build]
            with contextlib.suppress(BuildsysError):
                for step in plan.steps:
                    self.run_step(step)
                if not self.is_published(plan):
                    self.publish(plan)
        return self.rows(builds)

    def rows(self, builds: list[str]) -> list[Row]:
        """One row a build that was asked for."""
        return [self._row(self.plans[build]) for build in builds if build in self.plans]

    def close(self) -> None:
        """End of the run."""
        self.console.close()
        self.database.close()

    def _row(self, plan: Plan) -> Row:
        spent = sum(self.seconds.get(step.id, 0.0) for step in plan.steps)
        status = self.outcomes.get(plan.build)
        if status is None:
            failed = [step.stage for step in plan.steps if step.id in self.failures]
            status = f"failed at {failed[0]}" if failed else "not finished"
            if self.interrupted and not failed:
                running = [step.stage for step in plan.steps if step.id in self.running]
                status = f"interrupted at {running[0]}" if running else "interrupted"
        return Row(id=plan.build, status=status, seconds=round(spent, 1))

    def _is_red(self, plan: Plan) -> bool:
        if not plan.verdict:
            return False
        try:
            result = self.state.result(plan.verdict)
        except BuildsysError:
            return False
        return result is not None and not result.passed

    def _stage_names(self) -> dict[str, str]:
        """How a step is called: its stage, and the builds that share it."""
        users: dict[str, list[str]] = {}
        stages: dict[str, str] = {}
        for plan in self.loaded.plans:
            for step in plan.steps:
                stages[step.id] = step.stage
                users.setdefault(step.id, []).append(plan.build)
        return {
            key: f"{stage} ({users[key][0] if len(users[key]) == 1 else _shared(users[key])})"
            for key, stage in stages.items()
        }


def _shorten(reasons: tuple[Reason, ...]) -> str:
    """The first reasons, those with a line in a recipe first; `buildsys plan` shows them all."""
    ordered = sorted(reasons, key=lambda reason: not reason.place)
    text = "; ".join(str(reason) for reason in ordered[:_SHOWN_REASONS])
    more = len(ordered) - _SHOWN_REASONS
    return f"{text}; and {more} more" if more > 0 else text


def _shared(builds: list[str]) -> str:
    recipes = sorted({build.split("@")[0] for build in builds})
    return recipes[0] if len(recipes) == 1 else f"{recipes[0]} and {len(recipes) - 1} more"


@contextlib.contextmanager
def exclusive(workspace: Workspace) -> Iterator[None]:
    """One run per workspace: a second one waits, and says for whom. Raises CannotWrite."""
    with writing("the lock of this workspace", workspace.state):
        workspace.state.mkdir(parents=True, exist_ok=True)
        lock = (workspace.state / "lock").open("a+")
    with contextlib.closing(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            print(
                f"waiting for another run in this workspace (process {lock.read().strip()})",
                flush=True,
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.ftruncate(lock.fileno(), 0)
        with contextlib.suppress(OSError):  # a full disk: those who wait learn no number
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
        yield
