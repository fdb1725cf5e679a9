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
from buildsys.typed_json import decode

T = TypeVar("T")
_SHARED = ("inputs", "outputs", "origins")
"""Fields of a step whose values many steps have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """A step whose inputs, outputs and origins are kept elsewhere, by their places there."""

    step: dict[str, object]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    origins: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """A build's plan, whose steps are kept elsewhere: `plan` itself has none."""

    plan: BuildPlan
    steps: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Plans as they are kept: every value once, however many steps and plans share it."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    origins: tuple[tuple[str, str, str, int], ...]
    """Parameter, label, path, line: most of what is kept."""
    steps: tuple[_Step, ...]
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
    steps = dict[Step, int]()
    plans = tuple(_kept(plan, steps) for plan in recipe.plans)
    rows = tuple(
        _Step(
            step={name: value for name, value in vars(step).items() if name not in _SHARED},
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
        plans=plans,
        diagnostics=recipe.diagnostics,
    )
    entry = unchanged.Entry(value=kept, text=installation, files=dict(recipe.files))
    unchanged.keep(_place(workspace, recipe.name), entry)


def _places(values: tuple[T, ...], table: dict[T, int]) -> tuple[int, ...]:
    """Where values are in a table; those that are not yet come last in it."""
    return tuple(table.setdefault(value, len(table)) for value in values)


def _kept(plan: Plan, steps: dict[Step, int]) -> _Build | WaitingPlan | SelectionPlan:
    """Builds share a step's id; each may have its own name for it, and its own lines of parameters."""
    if isinstance(plan, BuildPlan):
        alone = dataclasses.replace(plan, steps=())
        return _Build(plan=alone, steps=_places(plan.steps, steps))
    return plan


def _decode(entry: unchanged.Entry) -> RecipePlans:
    """Raises ValueError, IndexError where the content is not plans of a recipe."""
    kept = decode(_Kept, entry.value)
    origins = [
        Origin(parameter=parameter, label=label, path=path, line=line)
        for parameter, label, path, line in kept.origins
    ]
    steps = [
        decode(
            Step,
            row.step
            | {
                "inputs": [kept.inputs[place] for place in row.inputs],
                "outputs": [kept.outputs[place] for place in row.outputs],
                "origins": [origins[place] for place in row.origins],
            },
        )
        for row in kept.steps
    ]
    return RecipePlans(
        name=kept.name,
        plans=tuple(_plan(row, steps) for row in kept.plans),
        diagnostics=kept.diagnostics,
        files=tuple(entry.files.items()),
        lasting=True,
    )


def _plan(row: _Build | WaitingPlan | SelectionPlan, steps: list[Step]) -> Plan:
    if isinstance(row, _Build):
        return dataclasses.replace(row.plan, steps=tuple(steps[place] for place in row.steps))
    return row


def _place(workspace: Workspace, name: str) -> Path:
    return workspace.plans / f"{name}.json"
