"""One run over a workspace: decides, executes, publishes, and knows what became of every build."""

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from buildsys.engine import choosing, ledger, process, publish, recording, toolenvs
from buildsys.engine.clock import duration
from buildsys.engine.console import Console
from buildsys.engine.database import Database
from buildsys.engine.faults import writing
from buildsys.engine.lockfile import read_lock, write_lock
from buildsys.engine.naming import shorten, stage_names
from buildsys.engine.places import Workspace
from buildsys.engine.plans import Plans, load_plans
from buildsys.engine.recording import training_notes
from buildsys.engine.runner import EnsureEnv, Runner
from buildsys.engine.state import State
from buildsys.engine.store import default_store
from buildsys.engine.summary import Row
from buildsys.engine.turns import exclusive
from buildsys.engine.workspaces import register
from buildsys.errors import BuildsysError, CannotWrite, InternalError, MissingBytes, StepFailed
from buildsys.graph import Decision, Plan, Status, Step

T = TypeVar("T")
_MOST_REPAIRS = 50


class Session:
    """The effects of a run, in the order in which doit asks for them."""

    def __init__(
        self,
        root: Path,
        run: process.CommandRunner = process.run_command,
        ensure: EnsureEnv = toolenvs.ensure,
        settled: ledger.Settled | None = None,
        plans: Plans | None = None,
    ) -> None:
        """`settled`: recipes that are known to need nothing: they are not even looked at.

        `plans`: other ones than those of the workspace's recipes.
        """
        self.workspace = Workspace(root.resolve())
        self.settled = dict(settled or {})
        loaded = plans or load_plans(self.workspace, frozenset(self.settled))
        self.loaded = loaded
        for recipe in loaded.recipes:  # it was looked at again: another is compared with its builds
            self.settled.pop(recipe.name, None)
        self.plans = {plan.build: plan for plan in self.loaded.plans}
        self.labels = {build: label for rows in self.settled.values() for build, label in rows}
        self.labels |= {plan.build: plan.label for plan in self.loaded.plans}
        self.database = Database(self.workspace.state / "state.sqlite")
        self.lock = read_lock(self.workspace.lock)
        store = default_store(self.workspace)
        self.state = State(self.loaded.plans, self.database, store, self.lock)
        register(store, self.workspace.root)
        self.console = Console(self.database)
        self.runner = Runner(self.workspace, self.state, self.console.say, run, ensure)
        self.stages = stage_names(self.loaded.plans)
        self._repairing = threading.RLock()  # one repair at a time: they share working folders
        self.built: set[str] = set()
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, str] = {}
        self.outcomes: dict[str, str] = {}
        self.running: set[str] = set()
        self.interrupted = False
        self.asked: list[str] = []
        self.candidates = {name for plan in self.loaded.plans for name in plan.candidates}
        """Variants of a recipe with `select`: rows of the table, without a folder of their own."""
        self.compared: set[str] = set()
        """Builds that have been timed together with all that they are compared with."""
        self._recording = threading.RLock()

    def prepare(self, builds: list[str]) -> None:
        """Before the first step of a run: which bytes will be read, what there is to do."""
        self.asked = builds
        self._read_lock()
        plans = tuple(self.plans[build] for build in builds if build in self.plans)
        plans += tuple(self.plans[c] for p in plans for c in p.candidates if c in self.plans)
        self.state.settle(tuple(plan for plan in plans if not plan.waiting_for))
        steps = {step.id: step for plan in plans for step in plan.steps}
        to_run = [s for s in steps.values() if self.needs_run(s)]
        if to_run:
            known = [self.database.duration(step.module) for step in to_run]
            total = duration(sum(seconds or 0 for seconds in known))
            guess = f", about {total} by earlier runs" if any(known) else ""
            self.console.say(f"{len(to_run)} of {len(steps)} steps to run{guess}")
        for warning in training_notes(self.state, tuple(steps.values())):
            self.console.say(warning)

    def include(self, step: Step, build: str) -> None:
        """A step that belongs to no plan, to be run like those that do."""
        self.state.include(step)
        self.stages[step.id] = f"{step.stage} ({build})"

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
            reason = shorten(decision.reasons)
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
            self.console.finish(name, self._made_elsewhere(step))
            return
        self.built.add(step.id)
        self.seconds[step.id] = result.seconds
        self._record_training(step)
        outcome = f"done in {duration(result.seconds)}"
        self.console.finish(name, outcome if result.passed else f"{outcome}: the verdict is red")

    def _made_elsewhere(self, step: Step) -> str:
        """Who made what a step was about to make."""
        mine = self.state.key(step)
        for name in (*self.built, *self.running):
            other = self.state.steps[name]
            theirs = self.state.key(other) if other.module == step.module else None
            if mine and theirs and theirs.key == mine.key:
                return "the same was made for another build"
        return "another run has made it meanwhile"

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

    def _record_training(self, step: Step) -> None:
        """Into buildsys.lock at once: a training is never lost to what comes after it."""
        if not step.module.startswith("train_"):
            return
        recipes = {plan.recipe for plan in self.loaded.plans if step in plan.steps}
        with self._recording:
            self._read_lock()
            compared = recording.compare_training(self.lock, self.state, step)
            if compared:
                self.console.say(f"{self.stages[step.id]}: {compared}")
            self.lock = recording.with_training(self.lock, self.state, step, recipes)
            self.state.trainings = self.lock.trainings()
            with writing("buildsys.lock", self.workspace.root):
                write_lock(self.workspace.lock, self.lock)

    def _read_lock(self) -> None:
        """As it is now: another run may have written it while this one waited for its turn."""
        self.lock = read_lock(self.workspace.lock)
        self.state.trainings = self.lock.trainings()

    def is_published(self, plan: Plan) -> bool:
        """Whether a build needs nothing at all."""
        if plan.waiting_for or self._waits(plan) or self._is_red(plan):
            return False
        try:
            if plan.candidates:
                chosen = (
                    self._choose(plan, lambda look: look()) if self._are_decided(plan) else None
                )
                if chosen is None:
                    return False
                plan = chosen
            elif plan.build in self.candidates:
                return self._is_made(plan)
            done = publish.is_published(self.workspace, self.state, plan)
        except BuildsysError:
            return False
        if done:
            self.outcomes[plan.build] = "up-to-date"
        return done

    def standing(self, plan: Plan) -> str:
        """What can be said of a build without running anything, as a row's status would say it.

        Empty: it was not made, or not of what its recipe says now.
        """
        red = publish.red_verdicts(self.state, plan)
        if red:
            return f"rejected by {red[0].stage}"
        waiting = plan.waiting_for or self._waits(plan)
        if waiting:
            return f"waiting for {waiting}"
        return "up-to-date" if self.is_published(plan) else ""

    def forget_trainings(self) -> None:
        """Recorded trainings of other tools or code do not count in this run."""
        self.state.retrain = True

    def _are_decided(self, plan: Plan) -> bool:
        """Whether every candidate is made or rejected."""
        return all(
            name in self.plans
            and (self._is_red(self.plans[name]) or self.state.result(self.plans[name].package))
            for name in plan.candidates
        )

    def _is_made(self, plan: Plan) -> bool:
        """A candidate has no folder of its own: its package in the store is all there is."""
        if self.state.result(plan.package) is None:
            return False
        made = any(step.id in self.built for step in plan.steps)
        self.outcomes[plan.build] = "built" if made else "up-to-date"
        return True

    def publish(self, plan: Plan) -> None:
        """Fill a build's folder, or take it away when its gate is red. Raises BuildsysError."""
        waiting = "" if self._is_red(plan) else plan.waiting_for or self._waits(plan)
        if waiting:
            self.outcomes[plan.build] = f"waiting for {waiting}"
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
        broken = [name for name in plan.candidates if name not in self.plans]
        if broken:
            raise BuildsysError(f"{plan.build} cannot choose: {broken[0]} has a mistake")
        if plan.candidates:
            self._publish_selection(plan)
        elif self._is_red(plan):
            failures = self._with_bytes(lambda: publish.reject(self.workspace, self.state, plan))
            judge = publish.red_verdicts(self.state, plan)[0].stage
            self.outcomes[plan.build] = f"rejected by {judge}: {'; '.join(failures)}"
            self.console.say(f"{plan.build}: {self.outcomes[plan.build]}")
        elif plan.build in self.candidates:
            self._is_made(plan)
        else:
            self._ship(plan)

    def _ship(self, plan: Plan) -> None:
        for step in plan.steps:
            if step.module.startswith("train_") and self.state.recorded(step) is None:
                self._record_training(step)  # it was made elsewhere, and found in the store
        built = frozenset(self.built)
        self._with_bytes(
            lambda: publish.publish(self.workspace, self.state, plan, self.runner, built)
        )
        made = any(step.id in self.built for step in plan.steps)
        self.outcomes[plan.build] = "built" if made else "restored"

    def _publish_selection(self, plan: Plan) -> None:
        """Ship the best of the variants that fit and pass; the others are rows."""
        chosen = self._choose(plan, self._with_bytes)
        if chosen is None:
            publish.withdraw(self.workspace, self.state, plan.build)
            self.outcomes[plan.build] = "rejected by select: no variant fits and passes its gates"
            self.console.say(f"{plan.build}: {self.outcomes[plan.build]}")
            return
        self._ship(chosen)
        name = json.loads(chosen.selection)["chosen"]
        self.console.say(f"{plan.build}: {name} ships, by {plan.metric}")

    def _choose(
        self, plan: Plan, read: Callable[[Callable[[], choosing.Figures]], choosing.Figures]
    ) -> Plan | None:
        """`read` makes what the store has lost, or lets MissingBytes pass: looking runs nothing."""
        candidates = [self.plans[name] for name in plan.candidates]
        return choosing.choose(self.state, plan, candidates, read)

    def clean(self, build: str) -> None:
        """Take a build's folder away; a later run restores it from the store."""
        with exclusive(self.workspace):
            publish.withdraw(self.workspace, self.state, build)

    def build(self, builds: list[str]) -> list[Row]:
        """Everything that some builds need, one step after the other; a failure stops no other."""
        self.prepare(builds)
        for build in builds:
            plan = self.plans[build]
            members = [self.plans[name] for name in plan.candidates if name in self.plans]
            with contextlib.suppress(BuildsysError):
                for step in (step for member in [*members, plan] for step in member.steps):
                    self.run_step(step)
                if not self.is_published(plan):
                    self.publish(plan)
        self.remember()
        return self.rows(builds)

    def remember(self) -> None:
        """After a run: facts into buildsys.lock, and which recipes need nothing next time."""
        done = {b for b, outcome in self.outcomes.items() if outcome in ledger.GOOD}
        plans = [self.plans[build] for build in self.outcomes if build in done & self.plans.keys()]
        done -= {p.build for p in plans if p.rivals and p.build not in self.compared}
        try:
            self._read_lock()
            self.lock = recording.with_facts(self.lock, self.state, plans)
            with writing("buildsys.lock", self.workspace.root):
                write_lock(self.workspace.lock, self.lock)
        except BuildsysError as error:  # what was built is built; only the record is missing
            self.console.say(f"buildsys.lock was not brought up to date: {error}")
        ledger.write(self.workspace, self.settled, self.loaded, self.state, done)

    def rows(self, builds: list[str]) -> list[Row]:
        """One row a build that was asked for, in order; settled ones are up to date."""
        return [
            self._row(self.plans[build]) if build in self.plans
            else Row(id=build, status="up-to-date", seconds=0.0)
            for build in builds if build in self.labels
        ]  # fmt: skip

    def broken_rows(self) -> list[Row]:
        """One row a recipe that has a mistake."""
        return [Row(id=name, status="failed at check", seconds=0.0) for name in self.loaded.broken]

    def close(self) -> None:
        """End of the run."""
        self.console.close()
        self.database.close()

    def _row(self, plan: Plan) -> Row:
        spent = sum(self.seconds.get(step.id, 0.0) for step in plan.steps)
        row = Row(
            id=plan.build, status=self.outcomes.get(plan.build) or self._unfinished(plan),
            seconds=round(spent, 1), candidate=plan.build in self.candidates,
        )  # fmt: skip
        if not row.good and not (row.candidate and row.status.startswith("rejected")):
            return row
        return dataclasses.replace(row, **vars(choosing.figures(self.workspace, self.state, plan)))

    def _unfinished(self, plan: Plan) -> str:
        """Why a build has no outcome: its own failure, another's that shares the step, a signal."""
        if self.interrupted and not any(step.id in self.failures for step in plan.steps):
            running = [step.stage for step in plan.steps if step.id in self.running]
            return f"interrupted at {running[0]}" if running else "interrupted"
        for name in plan.candidates:
            if name not in self.plans or self.outcomes.get(name) is None:
                return f"blocked by {name}"
        for step in plan.steps:
            if step.id in self.failures:
                first = next(
                    (b for b in self.asked if b in self.plans and step in self.plans[b].steps),
                    plan.build,
                )
                return f"failed at {step.stage}" if first == plan.build else f"blocked by {first}"
        return "not finished"

    def _waits(self, plan: Plan) -> str:
        """What a build waits for: its own plan, a step that reads what is not here, a candidate."""
        for name in plan.candidates:
            member = self.plans.get(name)
            waiting = member and (member.waiting_for or self._waits(member))
            if waiting:
                return waiting
        for step in (step for step in plan.steps if step.id not in plan.proofs):
            with contextlib.suppress(BuildsysError):
                decision = self.state.decide(step)
                if decision.status == Status.WAITING:
                    return decision.reasons[0].subject
        return ""

    def _is_red(self, plan: Plan) -> bool:
        return bool(publish.red_verdicts(self.state, plan))
