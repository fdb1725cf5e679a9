"""What plans rest on, as stats: our own code and data, and the files that a recipe is made from."""

import hashlib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import buildsys
from buildsys.execution.places import Workspace
from buildsys.execution.tools.host_facts import MARKS, cpu_name
from buildsys.execution.tools.host_tools import QEMU, SEARCHED
from buildsys.files import stat_line, stat_text
from buildsys.steps.lib.datasets.file_lists import list_parts
from buildsys.steps.lib.tensorrt.host_library import VARIABLE

_PACKAGE = Path(buildsys.__file__).resolve().parent


def walk(root: str, parts: Iterable[str]) -> list[tuple[str, os.stat_result]]:
    """Every file of a tree's parts with its stat, see `file_lists.list_parts`."""
    return list(list_parts(root, parts).files)


def signature(entries: Iterable[tuple[str, os.stat_result]]) -> str:
    """Digest of what `walk` found."""
    text = "\n".join(f"{name} {stat_line(stat)}" for name, stat in entries)
    return hashlib.sha256(text.encode()).hexdigest()


def is_racy(stats: Iterable[str], since: int) -> bool:
    """Whether a file may have changed after it was read; `since`: `next_file_tick_ns` before that.

    Only the change time counts: modification times can be set to the future.
    """
    return any(int(words[3]) >= since for text in stats if len(words := text.split(" ")) == 4)


def installation(workspace: Workspace) -> str:
    """Digest of the stats of this package and of what every recipe of the workspace rests on."""
    watched = [str(workspace.root / "buildsys.yaml"), *_targets(workspace.root / "targets")]
    watched += [f"{folder}/{QEMU}" for folder in SEARCHED.split(":")]
    watched += MARKS  # what is `local` in a target is settled by what this machine has
    # plans name this machine where they measure its latency
    here = f"{buildsys.__version__} {workspace.root} {os.uname().nodename} {cpu_name()}"
    here += os.environ.get(VARIABLE, "")
    return _digest(watched, f"{here} {package_state(_PACKAGE)}")


@cache
def package_state(package: Path) -> str:
    """Digest of the stats of our own files, looked at once in a process: code is read once, too.

    An edit while a run goes on belongs to the next run, which has to notice it.
    """
    return look_at_package(package)


def look_at_package(package: Path) -> str:
    """`package_state` as it is now."""
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
    """The stems of a workspace's recipes; bases (`_x.yaml`) are none."""
    try:
        return {
            entry.name.removesuffix(".yaml")
            for entry in os.scandir(workspace.root / "recipes")
            if entry.name.endswith(".yaml") and not entry.name.startswith(("_", "."))
        }
    except OSError:
        return set()


def recipe_files(workspace: Workspace) -> list[Path]:
    """The recipes of a workspace, sorted."""
    folder = workspace.root / "recipes"
    return [folder / f"{name}.yaml" for name in sorted(recipe_names(workspace))]


def files_below(folder: str) -> list[str]:
    """Every file of a package, its templates and environments with it; no bytecode."""
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
