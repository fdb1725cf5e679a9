"""Publishes builds: fills a build's folder, removes it, or finds it up to date."""

import contextlib
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from buildsys.errors import BuildsysError, InternalError
from buildsys.execution.packages import publish, variants
from buildsys.execution.places import Workspace
from buildsys.execution.session.console import Console
from buildsys.execution.session.step_executor import StepExecutor
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.execution.state.decide import State
from buildsys.execution.state.lock_differences import differences, missing_lines, no_line
from buildsys.execution.tools.host_tools import is_portable
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.graph import (
    BuildPlan,
    Plan,
    SelectionPlan,
    Status,
    Step,
    WaitingPlan,
    build_plans,
    candidate_names,
    candidates_of,
    steps_of,
)
from buildsys.outcome import BUILT, RESTORED, UP_TO_DATE, Kind, Outcome
from buildsys.text import join_sentences
from buildsys.write_errors import writing


class PackagePublisher:
    """Publishes builds whose steps are done, and records each build's outcome."""

    def __init__(
        self,
        workspace: Workspace,
        plans: Mapping[str, Plan],
        state: State,
        executor: StepExecutor,
        console: Console,
    ) -> None:
        self.workspace, self.plans = workspace, plans
        self.state, self.executor, self.console = state, executor, console
        self.candidates = candidate_names(plans.values())
        """Variants of a recipe with `select`: they have rows in the table but no folders."""
        self.outcomes: dict[str, Outcome] = {}
        self.incomplete: set[str] = set()
        """Builds whose packages the next run extends, see `publish`."""
        self._unseen: dict[str, str] = {}

    def find_published(self, plan: Plan) -> Outcome | None:
        """Return the outcome of a build that needs no work; None for others. Records nothing."""
        if self._waits(plan) or self._reds(plan):
            return None
        try:
            if isinstance(plan, BuildPlan) and plan.build in self.candidates:
                return self._find_candidate(plan)
            shipped = self._shipped(plan)
            if shipped is None or not publish.is_published(self.workspace, self.state, shipped):
                return None
        except BuildsysError:
            return None
        return self.compared(UP_TO_DATE, plan)

    def compared(self, outcome: Outcome, plan: Plan) -> Outcome:
        """Return the outcome with its differences from buildsys.lock.

        Where no line may be added, a missing line is a difference.
        """
        plans = build_plans((plan, *candidates_of(plan, self.plans)))
        unrecorded = missing_lines(self.state, plans) if self.executor.record.locked else ()
        return replace(
            outcome, differs=(*map(no_line, unrecorded), *differences(self.state, plans))
        )

    def _shipped(self, plan: Plan) -> BuildPlan | None:
        """Return the plan whose package is published in a build's folder; None while undecided."""
        match plan:
            case BuildPlan():
                return plan
            case WaitingPlan():
                return None
            case SelectionPlan():
                decided = self._are_decided(plan)
                return self._choose(plan) if decided else None
            case _:
                assert_never(plan)

    def settle(self, plan: Plan) -> bool:
        """Record the outcome of a build that needs no work in this run; returns whether it needs none.

        An unexpected error is printed and fails the build.
        """
        try:
            outcome = self.find_published(plan)
        except UNEXPECTED as error:
            text = self.executor.explain(error, f"checking the package of {plan.build}")
            self._unseen[plan.build] = text
            self._fail(plan, text)
            return False
        if outcome is not None:
            self.outcomes[plan.build] = outcome
        return outcome is not None

    def current_outcome(self, plan: Plan) -> Outcome | None:
        """Return a build's outcome without running anything. Records nothing.

        Returns None if it is not built for this recipe.
        """
        red = self._reds(plan)
        if red:
            return self.compared(Outcome(kind=Kind.REJECTED, subject=red[0].stage), plan)
        return self._waits(plan) or self.find_published(plan)

    def publish(self, plan: Plan) -> None:
        """Fill a build's folder, or remove it when its gate has failed. Raises BuildsysError."""
        if plan.build in self._unseen:
            raise BuildsysError(self._unseen[plan.build])
        try:
            self._publish_whole(plan)
        except BuildsysError as error:
            reported = any(step.id in self.executor.failures for step in steps_of(plan))
            if not (reported or any(name not in self.plans for name in candidate_names([plan]))):
                self._fail(plan, f"{plan.build} could not be published: {error}")
            raise
        except UNEXPECTED as error:
            text = self.executor.explain(error, f"publishing {plan.build}")
            self._fail(plan, text)
            raise BuildsysError(text) from error

    def _fail(self, plan: Plan, text: str) -> None:
        """Print and record that a build's folder could not be filled."""
        self.outcomes[plan.build] = Outcome(kind=Kind.FAILED, subject="publish")
        self.console.print_line(text)

    def clean(self, build: str) -> None:
        """Remove a build's folder; a later run restores it from the store."""
        with exclusive(self.workspace):
            publish.withdraw(self.workspace, build, self.console.print_line)

    def reject_red(self) -> None:
        """Remove packages whose shared verdict was made again during this run and is now red."""
        if not self.state.has_turned_red:
            return
        for build, outcome in tuple(self.outcomes.items()):
            if not outcome.good:
                continue
            if self.find_published(self.plans[build]) is None:
                with contextlib.suppress(BuildsysError):  # already printed
                    self.publish(self.plans[build])

    def _publish_whole(self, plan: Plan) -> None:
        """Publish a build from the store's files.

        Where a file had to be made again, everything that depends on it is decided, made and judged
        again, because a verdict may change.
        """
        attempts = itertools.count()

        def publish_again() -> None:
            if next(attempts):
                for member in (*candidates_of(plan, self.plans), plan):
                    for step in steps_of(member):
                        self.executor.run_step(step)
            with writing(f"the package of {plan.build}", self.workspace.build):
                self._publish(plan)

        self.executor.retry_with_bytes(publish_again)

    def _publish(self, plan: Plan) -> None:
        """Publish a build, or raise MissingBytes before anything is published."""
        waiting = None if self._reds(plan) else self._waits(plan)
        if waiting is not None:
            self.outcomes[plan.build] = waiting
            return
        match plan:
            case BuildPlan():
                self._publish_build(plan)
            case SelectionPlan():
                self._publish_selection(plan)
            case WaitingPlan():
                raise InternalError(f"{plan.build} waits and cannot be published")
            case _:
                assert_never(plan)

    def _publish_build(self, plan: BuildPlan) -> None:
        red = self._reds(plan)
        if red:
            failures = publish.reject(self.workspace, self.state, plan, self.console.print_line)
            self._reject(plan, red[0].stage, join_sentences(failures))
        elif plan.build in self.candidates:
            outcome = self._find_candidate(plan)
            if outcome is not None:
                self.outcomes[plan.build] = outcome
        else:
            self._ship(plan)

    def _ship(self, plan: BuildPlan) -> None:
        for step in plan.steps:
            if step.trains and self.state.recorded(step) is None:
                self.executor.record_training(step)  # it was made elsewhere and found in the store
        built, runner = frozenset(self.executor.built), self.executor.runner
        is_complete = publish.publish(
            self.workspace, self.state, plan, runner, built, self.console.print_line
        )
        if not is_complete:
            self.incomplete.add(plan.build)
        made = self.executor.has_made(plan)
        asked = self.plans.get(plan.build, plan)
        self.outcomes[plan.build] = self.compared(BUILT if made else RESTORED, asked)

    def _publish_selection(self, plan: SelectionPlan) -> None:
        """Publish the best of the variants that fit and pass; the others only have rows."""
        broken = [name for name in plan.candidates if name not in self.plans]
        if broken:
            raise BuildsysError(f"{plan.build} cannot select a variant: {broken[0]} has a mistake")
        chosen = self._choose(plan)
        if chosen is None:
            publish.withdraw_rejected(self.workspace, plan.build, self.console.print_line)
            passed = any(not self._reds(each) for each in self._known_candidates(plan))
            unknown = f"no variant that passes has a value of {plan.metric}"
            why = unknown if passed else "no variant both fits and passes its gates"
            self._reject(plan, "select", why)
            return
        self._ship(chosen)
        if chosen.choice is not None:
            self.console.print_line(f"{plan.build}: {chosen.choice.chosen} ships, by {plan.metric}")

    def _reject(self, plan: Plan, judge: str, why: str) -> None:
        outcome = self.compared(Outcome(kind=Kind.REJECTED, subject=judge, detail=why), plan)
        self.outcomes[plan.build] = outcome
        # the table at the end gives the reason
        self.console.print_line(f"{plan.build}: {outcome.headline}")

    def _choose(self, plan: SelectionPlan) -> BuildPlan | None:
        """Return the variant to publish, if any; runs nothing. Raises MissingBytes."""
        return variants.choose(self.state, plan, self._known_candidates(plan))

    def _known_candidates(self, plan: SelectionPlan) -> tuple[BuildPlan, ...]:
        """Return the candidates without a mistake in their recipe, and whose data is known."""
        return build_plans(self.plans[name] for name in plan.candidates if name in self.plans)

    def _are_decided(self, plan: SelectionPlan) -> bool:
        """Return whether every candidate is made or rejected."""
        known = self._known_candidates(plan)
        return len(known) == len(plan.candidates) and all(
            self._reds(each) or self.state.result(each.package) for each in known
        )

    def _find_candidate(self, plan: BuildPlan) -> Outcome | None:
        """Return the outcome of a candidate that was made; it has no folder, and its package is only
        in the store.
        """
        if self.state.result(plan.package) is None:
            return None
        return self.compared(BUILT if self.executor.has_made(plan) else UP_TO_DATE, plan)

    def _waits(self, plan: Plan) -> Outcome | None:
        """Return what a build waits for: its plan, a step whose input is missing, or a
        candidate.
        """
        match plan:
            case WaitingPlan():
                return Outcome(kind=Kind.WAITING, subject=plan.waiting_for)
            case SelectionPlan():
                members = (self.plans[name] for name in plan.candidates if name in self.plans)
                return next(filter(None, map(self._waits, members)), None)
            case BuildPlan():
                return self._waiting_step(plan)
            case _:
                assert_never(plan)

    def _waiting_step(self, plan: BuildPlan) -> Outcome | None:
        for step in (step for step in plan.steps if step.id not in plan.proofs):
            with contextlib.suppress(BuildsysError):
                decision = self.state.decide(step)
                if decision.status == Status.WAITING:
                    portable = decision.needs_machine and is_portable(step.requires)
                    return Outcome(kind=Kind.WAITING, subject=decision.waits_for, portable=portable)
        return None

    def _reds(self, plan: Plan) -> list[Step]:
        """Return the steps whose verdict rejects the plan; a selection has none."""
        return publish.red_verdicts(self.state, plan) if isinstance(plan, BuildPlan) else []
