"""`buildsys plan`: the same decisions that doit asks for, in words or as JSON."""

import itertools
from typing import Any

from buildsys.errors import BuildsysError
from buildsys.execution.packages.publish import build_folder
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import EARLIER
from buildsys.execution.state.recording import training_notes
from buildsys.graph import Plan, Status

_SEVERAL = 3
"""More builds than that share a block."""
UNDONE = "not done"
"""A proof that cannot be given here: no build waits for it."""


def explain(session: Session, builds: list[str]) -> list[dict[str, Any]]:
    """One row a build: its state, and every step with status and reasons."""
    plans = [session.plans[build] for build in builds]
    session.state.request_inputs(tuple(plan for plan in plans if not plan.waiting_for))
    return [_explain_build(session, plan) for plan in plans]


def render(rows: list[dict[str, Any]]) -> str:
    """The rows for a terminal; what rests on other steps is one line, what needs nothing is counted.

    Builds one after the other of which the same is to be said share a block.
    """
    lines = []
    for text, group in itertools.groupby(rows, key=_text):
        names = [str(row["id"]) for row in group]
        shared = [names] if len(names) > _SEVERAL else [[name] for name in names]
        for first, *others in shared:
            more = f" and {len(others)} more" if others else ""
            lines.append(f"{first}{more}: {text}")
            lines += [f"    also {', '.join(others)}"] if others else []
    return "\n".join(lines)


def _text(row: dict[str, Any]) -> str:
    """All that is said of a build."""
    notes = [f"    {note}" for note in row["notes"]]
    return "\n".join([row["state"], *notes, *_steps(row["steps"])])


def _steps(steps: list[dict[str, Any]]) -> list[str]:
    lines, pending, idle = [], [], 0
    for step in steps:
        if step["status"] == Status.PENDING:
            pending.append(step)
        elif step["status"] in (Status.UP_TO_DATE, Status.RESTORABLE):
            idle += 1
        else:
            reasons = "; ".join(reason["text"] for reason in step["reasons"])
            lines.append(f"    {step['status']:<9} {step['stage']:<20} {reasons}")
    if len(pending) == 1:
        reasons = "; ".join(reason["text"] for reason in pending[0]["reasons"])
        lines.append(f"    {Status.PENDING:<9} {pending[0]['stage']:<20} {reasons}")
    elif pending:
        own = {f"after {step['stage']}" for step in pending}
        texts = (reason["text"] for step in pending for reason in step["reasons"])
        reasons = "; ".join(dict.fromkeys(text for text in texts if text not in own))
        count = f"{len(pending)} steps"
        lines.append(f"    {Status.PENDING:<9} {count:<20} {reasons}")
    if idle and idle < len(steps):
        many = idle > 1
        lines.append(f"    {idle} other step{'s' * many} need{'s' * (not many)} nothing")
    return lines


def _explain_build(session: Session, plan: Plan) -> dict[str, Any]:
    row: dict[str, Any] = {"id": plan.build, "steps": [], "notes": []}
    if plan.waiting_for:
        return row | {"state": f"waiting for {plan.waiting_for}"}
    if plan.candidates:
        return row | _explain_selection(session, plan)
    try:
        steps = [_explain_step(session, plan, index) for index in range(len(plan.steps))]
    except BuildsysError as error:
        return row | {"state": f"broken: {error}"}
    statuses = {step["status"] for step in steps}
    if Status.WAITING in statuses:
        waiting = next(step for step in steps if step["status"] == Status.WAITING)
        state = f"waiting for {waiting['reasons'][0]['subject']}"
        if build_folder(session.workspace, plan.build).is_dir():
            row["notes"].append(EARLIER)
    elif statuses & {Status.STALE, Status.PENDING, Status.MISSING}:
        state = "stale"
    elif Status.REJECTED in statuses:
        state = "rejected"
    else:
        state = "up-to-date" if session.publisher.is_published(plan) else "restorable"
    return row | {
        "state": state,
        "steps": steps,
        "notes": row["notes"] + training_notes(session.state, plan.steps),
    }


def _explain_selection(session: Session, plan: Plan) -> dict[str, Any]:
    """A selection has no steps of its own: it is as stale as the stalest of its candidates."""
    broken = [name for name in plan.candidates if name not in session.plans]
    if broken:
        return {"state": f"blocked by {broken[0]}"}
    states = [_explain_build(session, session.plans[name])["state"] for name in plan.candidates]
    for state in ("waiting", "broken", "stale"):
        found = [s for s in states if s.startswith(state)]
        if found:
            return {"state": found[0]}
    return {"state": "up-to-date" if session.publisher.is_published(plan) else "restorable"}


def _explain_step(session: Session, plan: Plan, index: int) -> dict[str, Any]:
    step = plan.steps[index]
    decision = session.state.decide(step)
    undone = step.id in plan.proofs and decision.status == Status.WAITING and decision.key
    return {
        "stage": step.stage,
        "step": step.id,
        "module": step.module,
        "status": UNDONE if undone else str(decision.status),
        "key": decision.key,
        "code": step.code,
        "lock": step.tool_identity,
        "seconds": session.database.duration(step.module),
        "reasons": [
            {
                "subject": reason.subject,
                "old": reason.old,
                "new": reason.new,
                "place": reason.place,
                "text": str(reason),
            }
            for reason in decision.reasons
        ],
    }
