"""What a run does with each build: its folder is filled, taken away, or right as it is."""

import contextlib
import json
from collections.abc import Callable

from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.packages import publish, variants
from buildsys.execution.places import Workspace
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_executor import StepExecutor
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.execution.state.decide import State
from buildsys.execution.tools.host_tools import is_portable, missing_requirement
from buildsys.files import writing
from buildsys.graph import Plan, Status
from buildsys.outcome import BUILT, RESTORED, UP_TO_DATE, Kind, Outcome


class PackagePublisher:
    """Ships builds whose steps are made, and remembers what became of each."""

    def __init__(
        self,
        workspace: Workspace,
        plans: dict[str, Plan],
        state: State,
        executor: StepExecutor,
        console: Console,
    ) -> None:
        self.workspace, self.plans = workspace, plans
        self.state, self.executor, self.console = state, executor, console
        self.candidates = {name for plan in plans.values() for name in plan.candidates}
        """Variants of a recipe with `select`: rows of the table, without a folder of their own."""
        self.outcomes: dict[str, Outcome] = {}
        """What became of builds."""

    def is_published(self, plan: Plan) -> bool:
        """Whether a build needs nothing at all; if so, its outcome is noted."""
        if self._waits(plan) or self._is_red(plan):
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
                return self._note_candidate(plan)
            done = publish.is_published(self.workspace, self.state, plan)
        except BuildsysError:
            return False
        if done:
            self.outcomes[plan.build] = UP_TO_DATE
        return done

    def standing(self, plan: Plan) -> Outcome | None:
        """What can be said of a build without running anything.

        None: it was not made, or not of what its recipe says now.
        """
        red = publish.red_verdicts(self.state, plan)
        if red:
            return Outcome(kind=Kind.REJECTED, subject=red[0].stage)
        return self._waits(plan) or (UP_TO_DATE if self.is_published(plan) else None)

    def publish(self, plan: Plan) -> None:
        """Fill a build's folder, or take it away when its gate is red. Raises BuildsysError."""
        waiting = None if self._is_red(plan) else self._waits(plan)
        if waiting is not None:
            self.outcomes[plan.build] = waiting
            return
        try:
            with writing(f"the package of {plan.build}", self.workspace.build):
                self._publish(plan)
        except (CannotWrite, OSError) as error:
            self.outcomes[plan.build] = Outcome(kind=Kind.FAILED, subject="publish")
            self.console.say(f"{plan.build} could not be published: {error}")
            if isinstance(error, CannotWrite):
                raise
            raise BuildsysError(f"{plan.build} could not be published: {error}") from error

    def clean(self, build: str) -> None:
        """Take a build's folder away; a later run restores it from the store."""
        with exclusive(self.workspace):
            publish.withdraw(self.workspace, build, self.console.say)

    def _publish(self, plan: Plan) -> None:
        broken = [name for name in plan.candidates if name not in self.plans]
        if broken:
            raise BuildsysError(f"{plan.build} cannot choose: {broken[0]} has a mistake")
        if plan.candidates:
            self._publish_selection(plan)
        elif self._is_red(plan):
            failures = self.executor.retry_with_bytes(
                lambda: publish.reject(self.workspace, self.state, plan, self.console.say)
            )
            judge = publish.red_verdicts(self.state, plan)[0].stage
            self._reject(plan, judge, "; ".join(failures))
        elif plan.build in self.candidates:
            self._note_candidate(plan)
        else:
            self._ship(plan)

    def _ship(self, plan: Plan) -> None:
        for step in plan.steps:
            if step.trains and self.state.recorded(step) is None:
                self.executor.record_training(step)  # it was made elsewhere, and found in the store
        built, runner = frozenset(self.executor.built), self.executor.runner
        self.executor.retry_with_bytes(
            lambda: publish.publish(
                self.workspace, self.state, plan, runner, built, self.console.say
            )
        )
        made = self.executor.has_made(plan)
        self.outcomes[plan.build] = BUILT if made else RESTORED

    def _publish_selection(self, plan: Plan) -> None:
        """Ship the best of the variants that fit and pass; the others are rows."""
        chosen = self._choose(plan, self.executor.retry_with_bytes)
        if chosen is None:
            publish.withdraw(self.workspace, plan.build, self.console.say)
            self._reject(plan, "select", "no variant fits and passes its gates")
            return
        self._ship(chosen)
        name = json.loads(chosen.selection)["chosen"]
        self.console.say(f"{plan.build}: {name} ships, by {plan.metric}")

    def _reject(self, plan: Plan, judge: str, why: str) -> None:
        outcome = Outcome(kind=Kind.REJECTED, subject=judge, detail=why)
        self.outcomes[plan.build] = outcome
        self.console.say(f"{plan.build}: {outcome}")

    def _choose(
        self, plan: Plan, read: Callable[[Callable[[], variants.Figures]], variants.Figures]
    ) -> Plan | None:
        """`read` makes what the store has lost, or lets MissingBytes pass: looking runs nothing."""
        candidates = [self.plans[name] for name in plan.candidates]
        return variants.choose(self.state, plan, candidates, read)

    def _are_decided(self, plan: Plan) -> bool:
        """Whether every candidate is made or rejected."""
        return all(
            name in self.plans
            and (self._is_red(self.plans[name]) or self.state.result(self.plans[name].package))
            for name in plan.candidates
        )

    def _note_candidate(self, plan: Plan) -> bool:
        """A candidate has no folder of its own: its package in the store is all there is."""
        if self.state.result(plan.package) is None:
            return False
        made = self.executor.has_made(plan)
        self.outcomes[plan.build] = BUILT if made else UP_TO_DATE
        return True

    def _waits(self, plan: Plan) -> Outcome | None:
        """What a build waits for: its own plan, a step that reads what is not here, a candidate."""
        if plan.waiting_for:
            return Outcome(kind=Kind.WAITING, subject=plan.waiting_for)
        for name in plan.candidates:
            member = self.plans.get(name)
            waiting = self._waits(member) if member else None
            if waiting is not None:
                return waiting
        for step in (step for step in plan.steps if step.id not in plan.proofs):
            with contextlib.suppress(BuildsysError):
                decision = self.state.decide(step)
                if decision.status == Status.WAITING:
                    subject = decision.reasons[0].subject
                    lacks = subject == missing_requirement(step.requires)
                    portable = lacks and is_portable(step.requires)
                    return Outcome(kind=Kind.WAITING, subject=subject, portable=portable)
        return None

    def _is_red(self, plan: Plan) -> bool:
        return bool(publish.red_verdicts(self.state, plan))
