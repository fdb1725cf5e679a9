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
from buildsys.graph import BuildPlan, Plan, SelectionPlan, Step, WaitingPlan, steps_of
from buildsys.typed_json import decode


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """A build's plan, whose steps are kept elsewhere: `plan` itself has none."""

    plan: BuildPlan
    steps: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Plans as they are kept: steps once, however many plans share them."""

    name: str
    steps: dict[str, Step]
    plans: tuple[_Build | WaitingPlan | SelectionPlan, ...]
    diagnostics: tuple[Diagnostic, ...]


def find(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """What was kept of a recipe, if nothing that it rests on changed."""
    entry = unchanged.find(_place(workspace, path.stem), installation)
    try:
        return _decode(entry) if entry is not None else None
    except (ValueError, KeyError):
        return None


def keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    """For runs to come; a plan that cannot be kept is made again."""
    kept = _Kept(
        name=recipe.name,
        steps={_key(step): step for plan in recipe.plans for step in steps_of(plan)},
        plans=tuple(map(_kept, recipe.plans)),
        diagnostics=recipe.diagnostics,
    )
    entry = unchanged.Entry(value=kept, text=installation, files=dict(recipe.files))
    unchanged.keep(_place(workspace, recipe.name), entry)


def _kept(plan: Plan) -> _Build | WaitingPlan | SelectionPlan:
    if isinstance(plan, BuildPlan):
        alone = dataclasses.replace(plan, steps=())
        return _Build(plan=alone, steps=tuple(map(_key, plan.steps)))
    return plan


def _key(step: Step) -> str:
    """Builds share a step's id; each has its own name for it, and its own lines of parameters."""
    return f"{step.id} {digest_value([step.stage, step.origins])[:16]}"


def _decode(entry: unchanged.Entry) -> RecipePlans:
    """Raises ValueError, KeyError where the content is not plans of a recipe."""
    kept = decode(_Kept, entry.value)
    return RecipePlans(
        name=kept.name,
        plans=tuple(_plan(row, kept.steps) for row in kept.plans),
        diagnostics=kept.diagnostics,
        files=tuple(entry.files.items()),
        lasting=True,
    )


def _plan(row: _Build | WaitingPlan | SelectionPlan, steps: dict[str, Step]) -> Plan:
    if isinstance(row, _Build):
        return dataclasses.replace(row.plan, steps=tuple(steps[key] for key in row.steps))
    return row


def _place(workspace: Workspace, name: str) -> Path:
    return workspace.plans / f"{name}.json"
