"""A recipe's plans, kept as JSON: what did not change is not parsed again.

What a plan rests on is in its entry: the files that were read for its recipe, our own code and data.
"""

import dataclasses
from pathlib import Path

from buildsys.digest import digest_value
from buildsys.errors import Diagnostic
from buildsys.execution.places import Workspace
from buildsys.execution.state import unchanged
from buildsys.execution.state.plans import RecipePlans
from buildsys.graph import Plan, Step
from buildsys.typed_json import decode


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Plans as they are kept: steps once, however many plans share them."""

    name: str
    steps: dict[str, Step]
    plans: tuple[dict[str, object], ...]
    diagnostics: tuple[Diagnostic, ...]


def find(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """What was kept of a recipe, if nothing that it rests on changed."""
    entry = unchanged.find(_place(workspace, path.stem), installation)
    try:
        return _decode(entry) if entry is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    """For runs to come; a plan that cannot be kept is made again."""
    kept = _Kept(
        name=recipe.name,
        steps={_key(step): step for plan in recipe.plans for step in plan.steps},
        plans=tuple(_row(plan) for plan in recipe.plans),
        diagnostics=recipe.diagnostics,
    )
    entry = unchanged.Entry(value=kept, text=installation, files=dict(recipe.files))
    unchanged.keep(_place(workspace, recipe.name), entry)


def _row(plan: Plan) -> dict[str, object]:
    fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    return {**fields, "steps": [_key(step) for step in plan.steps]}


def _key(step: Step) -> str:
    """Builds share a step's id; each has its own name for it, and its own lines of parameters."""
    return f"{step.id} {digest_value([step.stage, step.origins])[:16]}"


def _decode(entry: unchanged.Entry) -> RecipePlans:
    """Raises ValueError, KeyError, TypeError where the content is not plans of a recipe."""
    kept = decode(_Kept, entry.value)
    plans = []
    for row in kept.plans:
        keys = decode(tuple[str, ...], row["steps"])
        plans.append(decode(Plan, {**row, "steps": [kept.steps[key] for key in keys]}))
    return RecipePlans(
        name=kept.name,
        plans=tuple(plans),
        diagnostics=kept.diagnostics,
        files=tuple(entry.files.items()),
        lasting=True,
    )


def _place(workspace: Workspace, name: str) -> Path:
    return workspace.plans / f"{name}.json"
