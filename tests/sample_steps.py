"""Steps and plans written by hand, for tests of what decides about them: no recipe, no tool."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.store.store import Store
from buildsys.graph import BuildPlan, Input, Output, Source, Step
from buildsys.lockfile import Lock

IN_MEMORY = Path(":memory:")
"""What a Database is given that leaves no file."""


def make_step(module: str, *inputs: Input, **changes: Any) -> Step:
    """A step `module` with one output `made`, one file; `changes`: fields that are to differ."""
    known: dict[str, Any] = {
        "id": module,
        "stage": module,
        "module": module,
        "params": json.dumps({"size": 64}),
        "inputs": inputs,
        "outputs": (Output(name="made", tree=False, suffix=".bin"),),
        "code": "code-1",
        "tool_env": "",
        "tool": "tool 1.0",
        "tool_identity": "lock-1",
        "memory_mib": 1,
        "threads": 1,
        "framework": False,
        "gpu": False,
        "device": "auto",
        "origins": (),
    }
    return Step(**known | changes)


def output_of(step: Step, name: str = "") -> Input:
    """An input that is the first output of another step."""
    output = step.outputs[0].name
    return Input(name=name or output, step=step.id, output=output)


def given(path: Path, name: str = "given", **facts: str) -> Input:
    """An input that is a person's file."""
    return Input(name=name, source=Source(path=str(path), label=path.name, **facts))  # type: ignore[arg-type]


def make_plan(*steps: Step, **changes: Any) -> BuildPlan:
    """The build `tags@host` of these steps, the last of which makes the package."""
    known: dict[str, Any] = {
        "build": "tags@host",
        "recipe": "tags",
        "target": "host",
        "label": "this machine",
        "steps": steps,
        "package": steps[-1].id,
        "shipped": None,
        "verdicts": (),
        "notes": (),
        "licences": (),
    }
    return BuildPlan(**known | changes)


def make_state(folder: Path, *plans: BuildPlan, lock: Lock | None = None) -> State:
    """Decisions on plans, with a store in a folder and a database in memory."""
    return State(plans, Database(IN_MEMORY), Store(folder / "store"), lock)


def again(state: State, *plans: BuildPlan, lock: Lock | None = None) -> State:
    """The next run: the same database and store, other plans."""
    return State(plans, state.database, state.store, lock)


def changed(step: Step, **changes: Any) -> Step:
    """The step of a later run."""
    return dataclasses.replace(step, **changes)
