"""A recipe's plans, kept as JSON: what did not change is not parsed again.

What a plan depends on is watched by stat: the files that were read for its recipe, our own code and
data. Losing the cache costs a second.
"""

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from buildsys.digest import digest_value
from buildsys.errors import Diagnostic
from buildsys.execution.places import Workspace
from buildsys.execution.state.plans import RecipePlans
from buildsys.files import stat_text
from buildsys.graph import Input, Origin, Output, Plan, Source, Step


def find(workspace: Workspace, path: Path, installation: str) -> RecipePlans | None:
    """What was kept of a recipe, if nothing that it rests on changed."""
    try:
        data = json.loads((workspace.plans / f"{path.stem}.json").read_bytes())
        current = all(stat_text(name) == text for name, text in data["files"])
        return _decode(data) if data["installation"] == installation and current else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, of another version, damaged


def keep(workspace: Workspace, recipe: RecipePlans, installation: str) -> None:
    """For runs to come; a plan that cannot be kept is made again."""
    target = workspace.plans / f"{recipe.name}.json"
    temporary = target.with_suffix(f".{os.getpid()}")
    text = json.dumps({"installation": installation, **_encode(recipe)})
    with contextlib.suppress(OSError):  # a full disk is told of where it matters
        workspace.plans.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _encode(recipe: RecipePlans) -> dict[str, Any]:
    """Steps once, however many plans share them."""
    steps = {_key(s): dataclasses.asdict(s) for plan in recipe.plans for s in plan.steps}
    rows = []
    for plan in recipe.plans:
        row = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
        row["steps"] = [_key(step) for step in plan.steps]
        row["shipped"] = dataclasses.asdict(plan.shipped) if plan.shipped else None
        rows.append(row)
    diagnostics = [dataclasses.asdict(diagnostic) for diagnostic in recipe.diagnostics]
    return {
        "name": recipe.name,
        "files": recipe.files,
        "steps": steps,
        "plans": rows,
        "diagnostics": diagnostics,
    }


def _key(step: Step) -> str:
    """Builds share a step's id; each has its own name for it, and its own lines of parameters."""
    return f"{step.id} {digest_value([step.stage, step.origins])[:16]}"


def _decode(data: dict[str, Any]) -> RecipePlans:
    steps = {key: _step(row) for key, row in data["steps"].items()}
    return RecipePlans(
        name=data["name"],
        plans=tuple(_plan(row, steps) for row in data["plans"]),
        diagnostics=tuple(Diagnostic(**row) for row in data["diagnostics"]),
        files=tuple((name, text) for name, text in data["files"]),
        lasting=True,
    )


def _plan(row: dict[str, Any], steps: dict[str, Step]) -> Plan:
    own = {
        "steps": tuple(steps[key] for key in row["steps"]),
        "shipped": _input(row["shipped"]) if row["shipped"] else None,
        "facts": tuple((name, text) for name, text in row["facts"]),
    }
    lists = {
        name: tuple(row[name])
        for name in ("notes", "licences", "candidates", "archive", "verdicts", "proofs")
    }
    return Plan(**{**row, **own, **lists})


def _step(row: dict[str, Any]) -> Step:
    return Step(
        **{
            **row,
            "inputs": tuple(_input(item) for item in row["inputs"]),
            "outputs": tuple(Output(**item) for item in row["outputs"]),
            "origins": tuple(Origin(**item) for item in row["origins"]),
        }
    )


def _input(row: dict[str, Any]) -> Input:
    source = row["source"]
    if source is None:
        return Input(**row)
    return Input(**{**row, "source": Source(**{**source, "parts": tuple(source["parts"])})})
