"""A recipe's plans, kept as JSON: what did not change is not parsed again.

What a plan rests on is in its entry: the files that were read for its recipe, our own code and data.
"""

import dataclasses
from pathlib import Path
from typing import TypeVar

from buildsys.errors import Diagnostic
from buildsys.execution.places import Workspace
from buildsys.execution.state import unchanged
from buildsys.execution.state.plans import RecipePlans
from buildsys.graph import (
    BuildPlan,
    Input,
    Origin,
    Output,
    Plan,
    SelectionPlan,
    Step,
    WaitingPlan,
)
from buildsys.recorded_facts import Fact
from buildsys.typed_json import decode, decode_rest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """A step whose inputs, outputs and origins are kept elsewhere, by their places there."""

    step: dict[str, object]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    origins: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """A build's plan, whose steps and facts are kept elsewhere, by their places there."""

    plan: dict[str, object]
    steps: tuple[int, ...]
    facts: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Plans as they are kept: every value once, however many steps and plans share it."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    origins: tuple[tuple[str, str, str, int], ...]
    """Parameter, label, path, line: most of what is kept."""
    steps: tuple[_Step, ...]
    facts: tuple[Fact, ...]
    plans: tuple[_Build | WaitingPlan | SelectionPlan, ...]
    diagnostics: tuple[Diagnostic, ...]


def find(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """What was kept of a recipe, if nothing that it rests on changed."""
    entry = unchanged.find(_place(workspace, path.stem), installation)
    try:
        return _decode(entry) if entry is not None else None
    except (ValueError, IndexError):
        return None


def keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    """For runs to come; a plan that cannot be kept is made again."""
    inputs, outputs, origins = dict[Input, int](), dict[Output, int](), dict[Origin, int]()
    steps, facts = dict[Step, int](), dict[Fact, int]()
    plans = tuple(_kept(plan, steps, facts) for plan in recipe.plans)
    rows = tuple(
        _Step(
            step=_without(step, "inputs", "outputs", "origins"),
            inputs=_places(step.inputs, inputs),
            outputs=_places(step.outputs, outputs),
            origins=_places(step.origins, origins),
        )
        for step in steps
    )
    kept = _Kept(
        name=recipe.name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        origins=tuple((o.parameter, o.label, o.path, o.line) for o in origins),
        steps=rows,
        facts=tuple(facts),
        plans=plans,
        diagnostics=recipe.diagnostics,
    )
    entry = unchanged.Entry(value=kept, text=installation, files=dict(recipe.files))
    unchanged.keep(_place(workspace, recipe.name), entry)


def _places(values: tuple[T, ...], table: dict[T, int]) -> tuple[int, ...]:
    """Where values are in a table; those that are not yet come last in it."""
    return tuple(table.setdefault(value, len(table)) for value in values)


def _without(value: Step | BuildPlan, *names: str) -> dict[str, object]:
    """The fields of a value but for those that are kept elsewhere."""
    return {name: item for name, item in vars(value).items() if name not in names}


def _kept(
    plan: Plan, steps: dict[Step, int], facts: dict[Fact, int]
) -> _Build | WaitingPlan | SelectionPlan:
    """Builds share a step's id; each may have its own name for it, and its own lines of parameters."""
    if isinstance(plan, BuildPlan):
        return _Build(
            plan=_without(plan, "steps", "facts"),
            steps=_places(plan.steps, steps),
            facts=_places(plan.facts, facts),
        )
    return plan


def _decode(entry: unchanged.Entry) -> RecipePlans:
    """Raises ValueError, IndexError where the content is not plans of a recipe."""
    kept = decode(_Kept, entry.value)
    origins = [
        Origin(parameter=parameter, label=label, path=path, line=line)
        for parameter, label, path, line in kept.origins
    ]
    steps = [
        decode_rest(
            Step,
            row.step,
            {
                "inputs": tuple(kept.inputs[place] for place in row.inputs),
                "outputs": tuple(kept.outputs[place] for place in row.outputs),
                "origins": tuple(origins[place] for place in row.origins),
            },
        )
        for row in kept.steps
    ]
    return RecipePlans(
        name=kept.name,
        plans=tuple(_plan(row, steps, kept.facts) for row in kept.plans),
        diagnostics=kept.diagnostics,
        files=tuple(entry.files.items()),
        lasting=True,
    )


def _plan(
    row: _Build | WaitingPlan | SelectionPlan, steps: list[Step], facts: tuple[Fact, ...]
) -> Plan:
    if isinstance(row, _Build):
        shared = {
            "steps": tuple(steps[place] for place in row.steps),
            "facts": tuple(facts[place] for place in row.facts),
        }
        return decode_rest(BuildPlan, row.plan, shared)
    return row


def _place(workspace: Workspace, name: str) -> Path:
    return workspace.plans / f"{name}.json"
