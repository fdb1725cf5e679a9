"""Caches a recipe's plans as JSON, so that an unchanged recipe is not parsed again.

An entry names what its plans depend on: the files that were read for the recipe, and our own code
and data.
"""

import dataclasses
import operator
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
from buildsys.typed_json import decode, decode_rest, maker

T = TypeVar("T")
_BY_PLACE = ("params", "inputs", "outputs", "origins")
"""Fields of a step that are stored in shared tables; its row has their indexes."""
_OWN = ("id", "stage")
"""Fields that usually differ between steps; the other fields describe how a module is run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Origins:
    """Origins as columns: they are the largest part of the cache."""

    parameters: tuple[str, ...]
    labels: tuple[str, ...]
    paths: tuple[str, ...]
    lines: tuple[int, ...]


Places = tuple[int, ...]
_Row = tuple[str, str, int, int, Places, Places, Places]
"""One step: id, stage, parameters, inputs, outputs and origins, and the index of its module."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """A build's plan; its steps and facts are indexes into shared tables."""

    plan: dict[str, object]
    steps: Places
    facts: Places


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kept:
    """Plans as stored: every value once, however many steps and plans share it."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    origins: _Origins
    params: tuple[str, ...]
    modules: tuple[dict[str, object], ...]
    """The fields that several steps have in common."""
    steps: tuple[_Row, ...]
    facts: tuple[Fact, ...]
    plans: tuple[_Build | WaitingPlan | SelectionPlan, ...]
    diagnostics: tuple[Diagnostic, ...]


def find(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """Return a recipe's cached plans, if nothing that they depend on has changed."""
    entry = unchanged.find(_place(workspace, path.stem), installation)
    try:
        return _decode(entry) if entry is not None else None
    except (ValueError, IndexError):
        return None


def keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    """Cache a recipe's plans; plans that cannot be written are made again by the next run."""
    steps, facts = _SameSteps(), dict[Fact, int]()
    plans = tuple(_kept(plan, steps, facts) for plan in recipe.plans)
    inputs, outputs, origins = dict[Input, int](), dict[Output, int](), dict[Origin, int]()
    params, modules = dict[str, int](), dict[tuple[object, ...], int]()
    rows = tuple(
        (
            step.id,
            step.stage,
            modules.setdefault(_module_values(step), len(modules)),
            params.setdefault(step.params, len(params)),
            _places(step.inputs, inputs),
            _places(step.outputs, outputs),
            _places(step.origins, origins),
        )
        for step in steps.found
    )
    kept = _Kept(
        name=recipe.name,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        origins=_Origins(
            parameters=tuple(origin.parameter for origin in origins),
            labels=tuple(origin.label for origin in origins),
            paths=tuple(origin.path for origin in origins),
            lines=tuple(origin.line for origin in origins),
        ),
        params=tuple(params),
        modules=tuple(dict(zip(_MODULE, values, strict=True)) for values in modules),
        steps=rows,
        facts=tuple(facts),
        plans=plans,
        diagnostics=recipe.diagnostics,
    )
    entry = unchanged.Entry(value=kept, text=installation, files=dict(recipe.files))
    unchanged.keep(_place(workspace, recipe.name), entry)


_MODULE = tuple(
    field.name for field in dataclasses.fields(Step) if field.name not in (*_OWN, *_BY_PLACE)
)
_module_values = operator.attrgetter(*_MODULE)


class _SameSteps:
    """Steps by identity: planning makes equal steps only once, and comparing them is slow."""

    def __init__(self) -> None:
        self.found: list[Step] = []
        self._places: dict[int, int] = {}

    def places(self, steps: tuple[Step, ...]) -> Places:
        """Return the indexes of steps in `found`, adding new ones at its end."""
        for step in steps:
            if id(step) not in self._places:
                self._places[id(step)] = len(self.found)
                self.found.append(step)
        return tuple(self._places[id(step)] for step in steps)


def _places(values: tuple[T, ...], table: dict[T, int]) -> Places:
    """Return the indexes of values in a table, adding new ones at its end."""
    return tuple([table.setdefault(value, len(table)) for value in values])


def _without(value: BuildPlan, *names: str) -> dict[str, object]:
    """Return the fields of a plan except those that are stored in shared tables."""
    return {name: item for name, item in vars(value).items() if name not in names}


def _kept(
    plan: Plan, steps: _SameSteps, facts: dict[Fact, int]
) -> _Build | WaitingPlan | SelectionPlan:
    """Return a plan's row.

    Builds share a step's id; each may use its own name for it, and its own lines of parameters.
    """
    if isinstance(plan, BuildPlan):
        return _Build(
            plan=_without(plan, "steps", "facts"),
            steps=steps.places(plan.steps),
            facts=_places(plan.facts, facts),
        )
    return plan


def _decode(entry: unchanged.Entry) -> RecipePlans:
    """Return the plans of a cache entry. Raises ValueError, IndexError if they are invalid."""
    kept = decode(_Kept, entry.value)
    columns = kept.origins
    rows = zip(columns.parameters, columns.labels, columns.paths, columns.lines, strict=True)
    origins = [
        _make_origin({"parameter": parameter, "label": label, "path": path, "line": line})
        for parameter, label, path, line in rows
    ]
    modules = [vars(decode_rest(Step, fields, _NO_FIELDS)) for fields in kept.modules]
    steps = [
        _make_step(
            {
                **modules[module],
                "id": step_id,
                "stage": stage,
                "params": kept.params[params],
                "inputs": tuple([kept.inputs[place] for place in inputs]),
                "outputs": tuple([kept.outputs[place] for place in outputs]),
                "origins": tuple([origins[place] for place in places]),
            }
        )
        for step_id, stage, module, params, inputs, outputs, places in kept.steps
    ]
    return RecipePlans(
        name=kept.name,
        plans=tuple(_plan(row, steps, kept.facts) for row in kept.plans),
        diagnostics=kept.diagnostics,
        files=tuple(entry.files.items()),
        lasting=True,
    )


_make_step, _make_origin = maker(Step), maker(Origin)
_NO_FIELDS = dict.fromkeys((*_OWN, *_BY_PLACE))


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
