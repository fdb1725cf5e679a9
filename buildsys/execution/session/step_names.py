"""Names that messages use for steps, and the reasons why steps run."""

from collections.abc import Iterable

from buildsys.graph import BuildPlan, Reason

_SHOWN_REASONS = 3


def stage_names(plans: Iterable[BuildPlan]) -> dict[str, str]:
    """Return each step's name by id: its stage, and the builds that share it."""
    users: dict[str, list[str]] = {}
    stages: dict[str, str] = {}
    for plan in plans:
        for step in plan.steps:
            stages[step.id] = step.stage
            users.setdefault(step.id, []).append(plan.build)
    return {
        key: f"{stage} ({users[key][0] if len(users[key]) == 1 else _shared(users[key])})"
        for key, stage in stages.items()
    }


def shorten(reasons: tuple[Reason, ...]) -> str:
    """Return the first reasons, those with a line in a recipe first; `buildsys plan` lists all."""
    ordered = sorted(reasons, key=lambda reason: not reason.place)
    text = "; ".join(str(reason) for reason in ordered[:_SHOWN_REASONS])
    more = len(ordered) - _SHOWN_REASONS
    return f"{text}; and {more} more" if more > 0 else text


def _shared(builds: list[str]) -> str:
    recipes = sorted({build.split("@")[0] for build in builds})
    return recipes[0] if len(recipes) == 1 else f"{recipes[0]} and {len(recipes) - 1} more"
