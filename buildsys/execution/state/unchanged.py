"""Caches earlier findings together with everything that they depend on.

All such caches have one file format: named entries, each a value with a text, the stats of files
and the signatures of folders. An entry is used while all of them are unchanged. A file that is
absent, damaged or of another format counts as empty: losing it costs a second.

With settled recipes, a run in which nothing changed opens no database, reads no plan and loads no
library. A recipe is settled when all its builds are up to date and match buildsys.lock.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from buildsys.execution.places import Workspace
from buildsys.execution.state import fingerprint
from buildsys.files import stat_line, stat_text, write_atomic
from buildsys.records import find_record, write_record
from buildsys.typed_json import decode

if TYPE_CHECKING:  # these modules load the database
    from buildsys.execution.state.plans import Plans, RecipePlans
    from buildsys.execution.state.recording import Record
    from buildsys.graph import Plan

Tree = tuple[str, tuple[str, ...]]
"""A folder and the parts below it that belong to a tree, see `fingerprint.walk`."""


@dataclass(frozen=True, kw_only=True)
class SettledBuild:
    """A build that needs no work, with what its row shows.

    `candidate`: a variant that `select` chooses among; `figures`: see `packages.figures`.
    """

    id: str
    label: str
    candidate: bool
    figures: str


Settled = dict[str, tuple[SettledBuild, ...]]
"""The builds of each recipe that needs no work."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A JSON value, and what it depends on."""

    value: object
    text: str = ""
    files: dict[str, str] = field(default_factory=dict)
    """`stat_text` by path."""
    trees: tuple[tuple[Tree, str], ...] = ()
    """Trees with their `tree_signature`."""
    folders: dict[str, str] = field(default_factory=dict)
    """`stat_line` by path of folders in which no name may be added or removed."""


@dataclass(frozen=True, kw_only=True)
class _File:
    format: Literal[2]
    entries: dict[str, Entry]


class DiskCheck:
    """Compares entries with the disk; no file and no tree is checked twice."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}
        self._trees: dict[Tree, str] = {}

    def confirms(self, entry: Entry, text: str) -> bool:
        """Return whether the text is the entry's, and every file and tree is unchanged."""
        if entry.text != text:
            return False
        for path, stat in entry.files.items():
            found = self._files.get(path)
            if found is None:
                found = self._files[path] = stat_text(path)
            if found != stat:
                return False
        for path, found in entry.folders.items():
            if _folder_stat(path) != found:
                return False
        for tree, signature in entry.trees:
            if tree not in self._trees:
                self._trees[tree] = tree_signature(tree)
            if not signature or self._trees[tree] != signature:
                return False
        return True


def _folder_stat(path: str) -> str:
    """Return a text that changes whenever a name is added to or removed from a folder."""
    try:
        return stat_line(os.lstat(path))
    except OSError:
        return "absent"


def tree_signature(tree: Tree) -> str:
    """Return a text that changes whenever a file of the tree may have changed; "" if it is
    missing.
    """
    try:
        return fingerprint.signature(fingerprint.walk(*tree))
    except (OSError, ValueError, NotImplementedError):  # NotImplementedError: an absolute pattern
        return ""


def find(path: Path, text: str) -> Entry | None:
    """Return the entry of a file that has one entry, if it is still valid."""
    entry = read(path).get("")
    return entry if entry is not None and DiskCheck().confirms(entry, text) else None


def keep(path: Path, entry: Entry) -> None:
    """Write a file with one entry, for `find`."""
    write(path, {"": entry})


def read(path: Path) -> dict[str, Entry]:
    """Return the entries of a file by name; none if it is absent, damaged or of another format."""
    found = find_record(_File, path)
    return found.entries if found is not None else {}


def write(path: Path, entries: dict[str, Entry]) -> None:
    """Write a file; a failure to write is ignored."""
    text = write_record(_File(format=2, entries=entries))
    with contextlib.suppress(OSError):
        write_atomic(path, text, durable=False)


def settled_recipes(workspace: Workspace) -> Settled:
    """Return the recipes that still need no work; empty if unknown. Raises CannotWrite."""
    workspace.check_own()
    here = fingerprint.recipe_names(workspace)
    installation, look = fingerprint.installation(workspace), DiskCheck()
    found: Settled = {}
    for name, entry in read(_settled(workspace)).items():
        if name in here and look.confirms(entry, installation):
            with contextlib.suppress(ValueError):
                found[name] = decode(tuple[SettledBuild, ...], entry.value)
    return found


def is_whole(workspace: Workspace, settled: Settled) -> bool:
    """Return whether every recipe of the workspace is settled."""
    names = fingerprint.recipe_names(workspace)
    return bool(names) and names == settled.keys()


def forget_settled(workspace: Workspace) -> None:
    """Have the next run check every recipe."""
    write(_settled(workspace), {})


def keep_settled(
    workspace: Workspace,
    settled: Iterable[str],
    loaded: "Plans",
    record: "Record",
    done: set[str],
    figures: Callable[["Plan"], str],
) -> None:
    """Add the recipes of `loaded` all of whose builds are `done`; drop all except the `settled`
    ones.

    `figures`: returns those of a build for its row in later runs.

    Settled recipes depend on buildsys.lock as it was when the run began, and stay settled if it has
    only grown.
    """
    if loaded.common:
        return
    installation, old = fingerprint.installation(workspace), read(_settled(workspace))
    entries = {name: old[name] for name in settled if name in old}
    lock = str(workspace.lock)
    if record.keeps_first:
        for name, kept in entries.items():
            if kept.files.get(lock) == record.first_stat:
                entries[name] = replace(kept, files=kept.files | {lock: record.stat})
    for recipe in loaded.recipes:
        if recipe.lasting and not recipe.diagnostics and {p.build for p in recipe.plans} <= done:
            entry = _settle(workspace, recipe, record, installation, figures)
            if entry is not None:
                entries[recipe.name] = entry
    write(_settled(workspace), entries)


def _settle(
    workspace: Workspace,
    recipe: "RecipePlans",
    record: "Record",
    installation: str,
    figures: Callable[["Plan"], str],
) -> Entry | None:
    """Return what a recipe depends on, as it was when the recipe was read.

    None where that is uncertain, and where a package has no evidence: its row appears in every run.
    """
    from buildsys.graph import build_plans, candidate_names

    planned = build_plans(recipe.plans)
    if any(plan.steps and not plan.is_proved for plan in planned):
        return None
    files = dict(recipe.files) | {str(workspace.lock): record.stat}
    trees: dict[Tree, str] = {}
    for step in (step for plan in planned for step in plan.steps):
        for source in (item.source for item in step.inputs if item.source is not None):
            known = record.state.sources.known_stat(source)
            if known is None:
                return None
            if source.parts:
                trees[(source.path, source.parts)] = known
            else:
                files[source.path] = known
    from buildsys.execution.state import published  # not needed by a run without work

    without = candidate_names(recipe.plans)
    folders: dict[str, str] = {}
    for plan in recipe.plans:
        package = published.read(workspace, plan.build)
        if package is None and plan.build not in without:
            return None
        if package is not None:
            folder = workspace.package(plan.build)
            files |= {f"{folder}/{name}": file.stat for name, file in package.files.items()}
            folders |= {f"{folder}/{name}": text for name, text in package.folders.items()}
    builds = []
    for plan in recipe.plans:
        try:
            shown = figures(plan)
        except OSError:
            return None
        candidate = plan.build in without
        build = SettledBuild(id=plan.build, label=plan.label, candidate=candidate, figures=shown)
        builds.append(asdict(build))
    return Entry(
        value=builds, text=installation, files=files, trees=tuple(trees.items()), folders=folders
    )


def _settled(workspace: Workspace) -> Path:
    return workspace.state / "settled.json"
