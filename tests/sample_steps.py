"""Steps and plans for tests of scheduling, made without recipes and tools."""

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
"""The path of a Database without a file."""


def make_step(module: str, *inputs: Input, **changes: Any) -> Step:
    """A step `module` with one output, the file `made`; `changes` replaces fields."""
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
        "gpu": False,
        "device": "auto",
        "origins": (),
    }
    return Step(**known | changes)


def output_of(step: Step, name: str = "") -> Input:
    """An input from an output of another step, by default the first."""
    output = step.outputs[0].name
    return Input(name=name or output, step=step.id, output=output)


def given(path: Path, name: str = "given", **facts: str) -> Input:
    """An input that is a user's file."""
    return Input(name=name, source=Source(path=str(path), label=path.name, **facts))  # type: ignore[arg-type]


def make_plan(*steps: Step, **changes: Any) -> BuildPlan:
    """The build `tags@host` with these steps; the last one makes the package."""
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
    """A state for plans, with a store in a folder and a database in memory."""
    return State(plans, Database(IN_MEMORY), Store(folder / "store"), lock)


def again(state: State, *plans: BuildPlan, lock: Lock | None = None) -> State:
    """The state of the next run: the same database and store, other plans."""
    return State(plans, state.database, state.store, lock)


def changed(step: Step, **changes: Any) -> Step:
    """The step with changed fields, as in a later run."""
    return dataclasses.replace(step, **changes)
