"""`buildsys plan`: the decisions of a run, as text or JSON."""

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import assert_never

from buildsys.errors import BuildsysError
from buildsys.execution.packages.publish import red_verdicts
from buildsys.execution.session.interrupted_trainings import describe_resumption
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import EARLIER
from buildsys.execution.state.recording import training_notes
from buildsys.graph import (
    BuildPlan,
    Decision,
    Plan,
    Reason,
    SelectionPlan,
    Status,
    Step,
    WaitingPlan,
    build_plans,
)
from buildsys.outcome import Kind, Outcome
from buildsys.text import count_text

_SEVERAL = 3
"""With more builds than this, equal ones share a block; steps that wait, a line."""
_UNDONE = "not done"
"""A proof that this machine cannot produce; no build waits for it."""


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step of a build and the decision about it.

    `undone`: it is a proof that this machine cannot produce. `continues`: at which epoch an
    interrupted training continues.
    """

    step: Step
    decision: Decision
    undone: bool
    seconds: float | None
    continues: str = ""

    @property
    def why(self) -> str:
        """Why it has to run, and where it continues, as one text."""
        return "; ".join(filter(None, (*map(str, self.decision.reasons), self.continues)))

    @property
    def status(self) -> str:
        """The decision in one word."""
        return _UNDONE if self.undone else str(self.decision.status)


@dataclass(frozen=True, kw_only=True)
class BuildRow:
    """One build: its state, every step with its decision, and notes."""

    build: str
    state: Outcome
    steps: tuple[StepRow, ...] = ()
    notes: tuple[str, ...] = ()


def explain(session: Session, builds: list[str]) -> list[BuildRow]:
    """Return one row per build, in order."""
    plans = [session.plans[build] for build in builds]
    session.state.request_inputs(build_plans(plans))
    return [_explain(session, plan) for plan in plans]


def for_json(row: BuildRow) -> dict[str, object]:
    """Return a row in the form of `buildsys plan --json`."""
    return {
        "id": row.build,
        "steps": [_step_for_json(step) for step in row.steps],
        "notes": list(row.notes),
        "state": str(row.state),
        "differs": list(row.state.differs),
    }


def render(rows: list[BuildRow]) -> str:
    """Format the rows for a terminal.

    Steps that wait for others, or many for the same data, share a line; steps without work are counted. Consecutive builds with
    equal rows share a block.
    """
    lines = []
    for text, group in itertools.groupby(rows, key=_text):
        names = [row.build for row in group]
        shared = [names] if len(names) > _SEVERAL else [[name] for name in names]
        for first, *others in shared:
            more = f" and {len(others)} more" if others else ""
            lines.append(f"{first}{more}: {text}")
            lines += [f"    also {', '.join(others)}"] if others else []
    return "\n".join(lines)


def _text(row: BuildRow) -> str:
    """Return all text about a build but its name."""
    notes = [f"    {note}" for note in row.notes]
    return "\n".join([str(row.state), *notes, *_steps(row.steps)])


def _steps(steps: tuple[StepRow, ...]) -> list[str]:
    lines, pending, idle = [], [], 0
    alike = Counter((row.status, row.why) for row in steps)
    for row in steps:
        if row.decision.status == Status.PENDING:
            pending.append(row)
        elif row.decision.status.is_done:
            idle += 1
        else:
            number = alike[row.status, row.why]
            waits = row.decision.status == Status.WAITING and number > _SEVERAL
            what = f"{number} steps" if waits else row.step.stage
            lines.append(f"    {row.status:<9} {what:<20} {row.why}")
    if len(pending) == 1:
        lines.append(f"    {Status.PENDING:<9} {pending[0].step.stage:<20} {pending[0].why}")
    elif pending:
        own = {f"after {row.step.stage}" for row in pending}
        texts = (str(reason) for row in pending for reason in row.decision.reasons)
        reasons = "; ".join(dict.fromkeys(text for text in texts if text not in own))
        count = f"{len(pending)} steps"
        lines.append(f"    {Status.PENDING:<9} {count:<20} {reasons}")
    if idle and idle < len(steps):
        lines.append(
            f"    {count_text(idle, 'other step')} {'needs' if idle == 1 else 'need'} nothing"
        )
    return list(dict.fromkeys(lines))


def _explain(session: Session, plan: Plan) -> BuildRow:
    match plan:
        case BuildPlan():
            return _explain_build(session, plan)
        case WaitingPlan():
            waiting = Outcome(kind=Kind.WAITING, subject=plan.waiting_for)
            return BuildRow(build=plan.build, state=waiting)
        case SelectionPlan():
            return BuildRow(build=plan.build, state=_state_of_selection(session, plan))
        case _:
            assert_never(plan)


def _explain_build(session: Session, plan: BuildPlan) -> BuildRow:
    try:
        steps = tuple(_explain_step(session, plan, step) for step in plan.steps)
    except BuildsysError as error:
        return BuildRow(build=plan.build, state=Outcome(kind=Kind.BROKEN, detail=str(error)))
    state = _state(session, plan, steps)
    notes = [*state.differs, *_lacks_later(session, plan, steps)]
    notes += training_notes(session.state, plan.steps)
    if state.kind == Kind.WAITING and session.workspace.package(plan.build).is_dir():
        notes = [EARLIER, *notes]
    return BuildRow(build=plan.build, state=state, steps=steps, notes=tuple(notes))


def _state(session: Session, plan: BuildPlan, steps: tuple[StepRow, ...]) -> Outcome:
    """Return a build's state, derived from its steps."""
    decisions = [row.decision for row in steps if not row.undone]
    waits = [decision for decision in decisions if decision.status == Status.WAITING]
    if waits:
        return Outcome(kind=Kind.WAITING, subject=waits[0].waits_for)
    if any(decision.status.may_run for decision in decisions):
        return Outcome(kind=Kind.STALE)
    if any(decision.status == Status.REJECTED for decision in decisions):
        red = red_verdicts(session.state, plan)
        rejected = Outcome(kind=Kind.REJECTED, subject=red[0].stage if red else "")
        return session.publisher.compared(rejected, plan)
    return _published(session, plan)


def _lacks_later(session: Session, plan: BuildPlan, steps: tuple[StepRow, ...]) -> list[str]:
    """Return a note about what this machine lacks for a step whose inputs are not made yet.

    The build may need nothing of it: if the inputs come out as before, the step's result is known.
    """
    pending = [row.step for row in steps if row.decision.status == Status.PENDING]
    found = (session.state.missing(step) for step in pending if step.id not in plan.proofs)
    subject = next((subjects[0] for subjects in found if subjects), "")
    return [f"a later step may wait for {subject}"] if subject else []


def _state_of_selection(session: Session, plan: SelectionPlan) -> Outcome:
    """Return a selection's state: it has no steps, so it is the state of its stalest candidate."""
    broken = [name for name in plan.candidates if name not in session.plans]
    if broken:
        return Outcome(kind=Kind.BLOCKED, subject=broken[0])
    states = [_explain(session, session.plans[name]).state for name in plan.candidates]
    for kind in (Kind.WAITING, Kind.BROKEN, Kind.STALE):
        found = [state for state in states if state.kind == kind]
        if found:
            return found[0]
    return _published(session, plan)


def _published(session: Session, plan: Plan) -> Outcome:
    return session.publisher.find_published(plan) or Outcome(kind=Kind.RESTORABLE)


def _explain_step(session: Session, plan: BuildPlan, step: Step) -> StepRow:
    decision = session.state.decide(step)
    runs = decision.status.is_due
    return StepRow(
        step=step,
        decision=decision,
        undone=session.state.is_undone(plan, step),
        seconds=session.executor.usual_seconds(step, decision.key),
        continues=describe_resumption(session.workspace, step, decision.key) if runs else "",
    )


def _step_for_json(row: StepRow) -> dict[str, object]:
    return {
        "stage": row.step.stage,
        "step": row.step.id,
        "module": row.step.module,
        "status": row.status,
        "key": row.decision.key,
        "code": row.step.code,
        "lock": row.step.tool_identity,
        "seconds": row.seconds,
        "continues": row.continues,
        "reasons": [_reason_for_json(reason) for reason in row.decision.reasons],
    }


def _reason_for_json(reason: Reason) -> dict[str, str]:
    return {
        "subject": reason.subject,
        "old": reason.old,
        "new": reason.new,
        "place": reason.place,
        "text": str(reason),
    }
