"""Which recipes needed nothing when a run last looked, and the stats of all that this rests on.

With it a run in which nothing changed opens no database, reads no plan and loads no library. A
recipe is settled when all its builds are up to date; any other stat, and it is looked at again.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from buildsys.execution.places import Workspace
from buildsys.execution.state import fingerprint
from buildsys.files import stat_text

GOOD = ("built", "restored", "up-to-date")
Settled = dict[str, tuple[tuple[str, str], ...]]
"""(build, label) of each recipe that needs nothing."""


def read(workspace: Workspace) -> Settled:
    """The recipes that still need nothing; empty where nothing is known."""
    try:
        data = json.loads(_path(workspace).read_bytes())
        if data["installation"] != fingerprint.installation(workspace):
            return {}
        here = fingerprint.recipe_names(workspace)
        known: dict[str, str] = {}
        return {
            name: tuple((build, label) for build, label in row["builds"])
            for name, row in data["recipes"].items()
            if name in here and _holds(row, known)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def is_whole(workspace: Workspace, settled: Settled) -> bool:
    """Whether every recipe of the workspace is settled."""
    names = fingerprint.recipe_names(workspace)
    return bool(names) and names == settled.keys()


def _holds(row: dict[str, Any], known: dict[str, str]) -> bool:
    """Whether every file and tree is what it was; `known`: what was looked at already."""
    files = row["files"]
    for path, text in zip(files[::2], files[1::2], strict=True):
        found = known.get(path)
        if found is None:
            found = known[path] = stat_text(path)
        if found != text:
            return False
    for root, parts, signature in row["trees"]:
        name = "\0".join((root, *parts))
        if name not in known:
            known[name] = fingerprint.signature(fingerprint.walk(root, parts))
        if known[name] != signature:
            return False
    return True


def write(workspace: Workspace, settled: Settled, loaded: Any, state: Any, done: set[str]) -> None:
    """Add the recipes of `loaded` (Plans) all of whose builds are `done`; drop the others."""
    if loaded.common:
        return
    old = _old(workspace)
    recipes = {name: old[name] for name in settled if name in old}
    for recipe in loaded.recipes:
        if recipe.lasting and not recipe.diagnostics and {p.build for p in recipe.plans} <= done:
            row = _row(workspace, recipe, state)
            if row is not None:
                recipes[recipe.name] = row
    text = json.dumps({"installation": fingerprint.installation(workspace), "recipes": recipes})
    temporary = _path(workspace).with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # losing it costs a second
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(_path(workspace))
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def _row(workspace: Workspace, recipe: Any, state: Any) -> dict[str, Any] | None:
    """What a recipe rests on, as it was when it was read; None where that is not certain."""
    files = dict(recipe.files)
    trees: dict[tuple[str, ...], str] = {}
    for plan in recipe.plans:
        for step in plan.steps:
            for source in (item.source for item in step.inputs if item.source is not None):
                known = state.sources.known_stat(source)
                if known is None:
                    return None
                if source.parts:
                    trees[(source.path, *source.parts)] = known
                else:
                    files[source.path] = known
    for plan in recipe.plans:
        files |= _outputs(workspace, plan.build, state)
    return {
        "builds": [[plan.build, plan.label] for plan in recipe.plans],
        "files": [text for pair in sorted(files.items()) for text in pair],
        "trees": [[root, parts, signature] for (root, *parts), signature in sorted(trees.items())],
    }


def _outputs(workspace: Workspace, build: str, state: Any) -> dict[str, str]:
    """The published files as they were when they were checked, the diary left out."""
    recipe, target = build.split("@")
    folder = str(workspace.build / recipe / target)
    diary = os.path.join(folder, "build.json")
    logs = os.path.join(folder, "logs") + os.sep
    known = state.database.files_below(folder)
    return {
        path: stat
        for path, (stat, _) in known.items()
        if not path.startswith(logs) and path != diary and os.path.exists(path)
    }


def _old(workspace: Workspace) -> dict[str, Any]:
    try:
        return dict(json.loads(_path(workspace).read_bytes())["recipes"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _path(workspace: Workspace) -> Path:
    return workspace.state / "settled.json"
