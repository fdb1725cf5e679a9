"""Stats of what plans depend on: buildsys' own files, and the files that a recipe is made from."""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import buildsys
from buildsys.execution.places import Workspace
from buildsys.execution.tools.host_facts import MARKS, cpu_name
from buildsys.execution.tools.host_tools import QEMU, SEARCHED
from buildsys.files import stat_line, stat_text, yaml_files
from buildsys.steps.lib.datasets.file_lists import list_parts
from buildsys.steps.lib.tensorrt.host_library import VARIABLE

_PACKAGE = Path(buildsys.__file__).resolve().parent


def walk(root: str, parts: Iterable[str]) -> list[tuple[str, os.stat_result]]:
    """Return every file of a tree's parts with its stat, see `file_lists.list_parts`."""
    return list(list_parts(root, parts).files)


def signature(entries: Iterable[tuple[str, os.stat_result]]) -> str:
    """Return the digest of what `walk` found."""
    text = "\n".join(f"{name} {stat_line(stat)}" for name, stat in entries)
    return hashlib.sha256(text.encode()).hexdigest()


def installation(workspace: Workspace) -> str:
    """Return the digest of the stats of this package and of files that every recipe depends on."""
    watched = [str(workspace.root / "buildsys.yaml"), *_targets(workspace.root / "targets")]
    watched += [f"{folder}/{QEMU}" for folder in SEARCHED.split(":")]
    watched += MARKS  # whether a target is `local` depends on what this machine has
    # plans that measure latency on this machine name it
    here = f"{buildsys.__version__} {workspace.root} {os.uname().nodename} {cpu_name()}"
    here += os.environ.get(VARIABLE, "")
    return _digest(watched, f"{here} {package_state(_PACKAGE)}")


@cache
def package_state(package: Path) -> str:
    """Return the digest of the stats of buildsys' own files, computed once per process.

    The code is also read once: an edit during a run is noticed by the next run.
    """
    return look_at_package(package)


def look_at_package(package: Path) -> str:
    """Return the current value of `package_state`."""
    targets = (*_targets(package.parent / "targets"), *_targets(package / "targets"))
    return _digest([*targets, *files_below(str(package))])


def _targets(folder: Path) -> list[str]:
    return [str(folder), *_listing(folder), *_listing(folder / "firmware")]


def _digest(paths: Iterable[str], text: str = "") -> str:
    state = hashlib.sha256(text.encode())
    for path in sorted(set(paths)):
        state.update(f"{path} {stat_text(path)}\n".encode())
    return state.hexdigest()


def recipe_names(workspace: Workspace) -> set[str]:
    """Return the stems of a workspace's recipes, without bases (`_x.yaml`)."""
    return {name for name in yaml_files(workspace.root / "recipes") if not name.startswith("_")}


def recipe_files(workspace: Workspace) -> list[Path]:
    """Return the recipe files of a workspace, sorted."""
    folder = workspace.root / "recipes"
    return [folder / f"{name}.yaml" for name in sorted(recipe_names(workspace))]


def files_below(folder: str) -> list[str]:
    """Return every file of a package, including templates and environments but not bytecode."""
    found: list[str] = []
    for entry in os.scandir(folder):
        if entry.name.startswith((".", "__pycache__")):
            continue
        found += files_below(entry.path) if entry.is_dir() else [entry.path]
    return found


def _listing(folder: Path) -> list[str]:
    try:
        return [e.path for e in os.scandir(folder) if e.name != "__pycache__"]
    except OSError:
        return []
