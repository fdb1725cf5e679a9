"""`buildsys plan`: the same decisions that doit asks for, in words or as JSON."""

from typing import Any

from buildsys.engine.session import Session
from buildsys.errors import BuildsysError
from buildsys.graph import Plan, Status


def explain(session: Session, builds: list[str]) -> list[dict[str, Any]]:
    """One row a build: its state, and every step with status and reasons."""
    plans = [session.plans[build] for build in builds]
    session.state.settle(tuple(plan for plan in plans if not plan.waiting_for))
    return [_explain_build(session, plan) for plan in plans]


def render(rows: list[dict[str, Any]]) -> str:
    """The rows for a terminal; steps that need nothing are only counted."""
    lines = []
    for row in rows:
        lines.append(f"{row['id']}: {row['state']}")
        idle = 0
        for step in row["steps"]:
            if step["status"] in (Status.UP_TO_DATE, Status.RESTORABLE):
                idle += 1
                continue
            reasons = "; ".join(reason["text"] for reason in step["reasons"])
            lines.append(f"    {step['status']:<9} {step['stage']:<20} {reasons}")
        if idle and idle < len(row["steps"]):
            lines.append(f"    {idle} other steps need nothing")
    return "\n".join(lines)


def _explain_build(session: Session, plan: Plan) -> dict[str, Any]:
    if plan.waiting_for:
        return {"id": plan.build, "state": f"waiting for {plan.waiting_for}", "steps": []}
    try:
        steps = [_explain_step(session, plan, index) for index in range(len(plan.steps))]
    except BuildsysError as error:
        return {"id": plan.build, "state": f"broken: {error}", "steps": []}
    statuses = {step["status"] for step in steps}
    if statuses & {Status.STALE, Status.PENDING, Status.MISSING}:
        state = "stale"
    elif Status.REJECTED in statuses:
        state = "rejected"
    else:
        state = "up-to-date" if session.is_published(plan) else "restorable"
    return {"id": plan.build, "state": state, "steps": steps}


def _explain_step(session: Session, plan: Plan, index: int) -> dict[str, Any]:
    step = plan.steps[index]
    decision = session.state.decide(step)
    return {
        "stage": step.stage,
        "step": step.id,
        "module": step.module,
        "status": str(decision.status),
        "key": decision.key,
        "seconds": session.database.duration(step.module),
        "reasons": [
            {
                "subject": reason.subject, "old": reason.old, "new": reason.new,
                "place": reason.place, "text": str(reason),
            }
            for reason in decision.reasons
        ],
    }  # fmt: skip
