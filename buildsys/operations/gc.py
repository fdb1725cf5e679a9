"""`buildsys gc`: removes unused results of the store, old working folders and tool environments.

Everything that a workspace refers to stays. Its references (action keys and digests, as words of 64
hex digits) are read without changing anything there: from buildsys.lock, from the manifests in
build/, and from the results of the current plans. The first two are read as text, so their formats
do not matter.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running.runner import finished_folders
from buildsys.execution.session.loading import load_plans, make_plans
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.store import garbage_collection, workspaces
from buildsys.execution.store.garbage_collection import Limits, Removals
from buildsys.execution.store.store import Store
from buildsys.execution.tools import definitions
from buildsys.files import read_regular, remove_tree
from buildsys.graph import BuildPlan, build_plans
from buildsys.lockfile import Lock, read_lock
from buildsys.locks import locked
from buildsys.write_errors import obstacle

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder to remove, with its size in bytes."""

    path: Path
    size: int


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What was or would be removed, and what stays."""

    choice: Removals
    users: int
    """The number of workspaces that use the store."""
    gone: tuple[Path, ...]
    """Recorded workspaces that no longer exist."""
    scratch: tuple[Folder, ...]
    busy: bool
    """Whether a run uses this workspace: its working folders are kept."""
    environments: tuple[Folder, ...]
    without_recipe: tuple[Folder, ...]
    """Packages in this workspace's build/, relative to it, that no recipe builds any more."""


def sweep(store: Store, root: Path, limits: Limits, tools: bool, dry_run: bool) -> Sweep:
    """Decide, then remove unless `dry_run`.

    Raises BuildsysError where references cannot be read.
    """
    workspace = Workspace(root)
    workspace.check_own()
    if workspace.has_recipes:
        workspaces.register(store, root)
    with garbage_collection.alone(store):
        users, gone = _users(store)
        words = {word for user in users for word in _references(user, store)}
        choice = garbage_collection.choose(
            garbage_collection.take_stock(store),
            garbage_collection.protect(store, words),
            limits,
            time.time(),
        )
        scratch, busy = _sweep_scratch(workspace, store, dry_run)
        environments = _old_environments() if tools else ()
        if not dry_run:
            garbage_collection.remove(choice.files)
            for path in gone:
                workspaces.forget(store, path)
            for folder in environments:
                remove_tree(folder.path)
    return Sweep(
        choice=choice,
        users=len(users),
        gone=gone,
        scratch=scratch,
        busy=busy,
        environments=environments,
        without_recipe=_without_recipe(workspace),
    )


def _without_recipe(workspace: Workspace) -> tuple[Folder, ...]:
    """Return packages that no recipe builds; those of a recipe with mistakes, whose
    variants are unknown, are not counted."""
    try:
        loaded = load_plans(workspace)
    except BuildsysError:
        return ()
    if loaded.common or not workspace.has_recipes:
        return ()
    wanted = {workspace.package(plan.build) for plan in loaded.plans}
    found = (path.parent for path in workspace.build.glob("[!.]*/*/manifest.json"))
    broken = tuple(f"{name}{end}" for name in loaded.broken for end in ("-", "/"))
    unused = sorted(
        path
        for path in found
        if path not in wanted and not f"{path.parent.name}/".startswith(broken)
    )
    return tuple(
        Folder(path=path.relative_to(workspace.root), size=_measure(path).size) for path in unused
    )


def _users(store: Store) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the recorded workspaces that exist, and those that do not."""
    known = workspaces.known(store)
    there = tuple(path for path in known if _is_there(path))
    return there, tuple(path for path in known if path not in there)


def _is_there(path: Path) -> bool:
    try:
        return os.path.isdir(path)
    except OSError:  # in another user's folder: it may exist
        return True


def _references(root: Path, store: Store) -> frozenset[str]:
    try:
        return references(Workspace(root), store)
    except OSError as error:
        found = obstacle(Path(os.fsdecode(error.filename))) if error.filename else ""
        hint = "run `buildsys gc` as a user who can read it"
        if not isinstance(error, PermissionError):
            hint = "correct that, or delete the workspace if it is unused; then run again"
        raise BuildsysError(
            f"the workspace {root} uses this store and cannot be read"
            f" ({found or error.strerror or error}): what it needs is unknown, so nothing was"
            f" removed.\n    help: {hint}"
        ) from error


def _sweep_scratch(
    workspace: Workspace, store: Store, dry_run: bool
) -> tuple[tuple[Folder, ...], bool]:
    """Return the working folders that no step needs any more, and whether a run may be using
    them.
    """
    if not os.path.isdir(workspace.scratch):
        return (), False
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(workspace.state / "lock", str(os.getpid())))
        except BlockingIOError:
            return (), True
        database = Database(workspace.state / "state.sqlite")
        found = finished_folders(workspace, store, database.result)
        database.close()
        finished = tuple(_measure(path) for path in found)
        for folder in () if dry_run else finished:
            remove_tree(folder.path)
        return finished, False


def _old_environments() -> tuple[Folder, ...]:
    """Return synced environments that belong to no lock of this version of buildsys."""
    wanted = {
        definitions.folder(env, variant)
        for env in definitions.all_tool_envs()
        for variant in env.every_variant
    }
    root = cache_root() / "toolenvs"
    if not os.path.isdir(root):
        return ()
    found = sorted(path for path in root.iterdir() if os.path.isdir(path) and path not in wanted)
    return tuple(_measure(path) for path in found)


def _measure(path: Path) -> Folder:
    """Return a folder with the bytes below it; links are not followed, hard links count once."""
    seen: dict[int, int] = {}
    pending = [str(path)]
    while pending:  # a step may have made folders deeper than os.walk can go
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    seen[entry.inode()] = entry.stat(follow_symlinks=False).st_size
    return Folder(path=path, size=sum(seen.values()))


def references(workspace: Workspace, store: Store) -> frozenset[str]:
    """Return everything that a workspace refers to. Raises OSError where it cannot be read."""
    words: set[str] = set()
    for path in (workspace.root / "buildsys.lock", *_manifests(workspace)):
        with contextlib.suppress(FileNotFoundError):
            words |= set(_DIGEST.findall(read_regular(path).decode("utf-8", "replace")))
    return frozenset(words | _of_plans(workspace, store))


def _manifests(workspace: Workspace) -> list[Path]:
    """Return every JSON file that describes a published folder."""
    found: list[Path] = []
    # os.walk reports errors below its folder, not of the folder itself
    os.scandir(workspace.root).close()
    for folder, _, files in os.walk(workspace.build, onerror=_raise):
        found += [Path(folder, name) for name in files if name == "manifest.json"]
    return found


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _of_plans(workspace: Workspace, store: Store) -> set[str]:
    """Return keys and outputs of every up-to-date step; with a broken recipe, of every role.

    Decides on a copy of the workspace's database, which may belong to another user and be in use.
    """
    with tempfile.TemporaryDirectory(prefix="buildsys-") as folder:
        for name in ("state.sqlite", "state.sqlite-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(workspace.state / name, Path(folder, name))
        database = Database(Path(folder, "state.sqlite"))
        try:
            plans, broken = _plans(workspace)
            words = _of_roles(database) if broken else set()
            return words | _of_steps(plans, State(plans, database, store, _lock(workspace)))
        finally:
            database.close()


def _plans(workspace: Workspace) -> tuple[tuple[BuildPlan, ...], bool]:
    """Return the current plans, and whether some could not be made."""
    try:
        loaded = make_plans(workspace)
    except BuildsysError:
        return (), True
    return build_plans(loaded.plans), bool(loaded.errors)


def _lock(workspace: Workspace) -> Lock:
    """Return the lock; an invalid one still protects what it names, because its words are read as
    text.
    """
    try:
        return read_lock(workspace.lock)
    except BuildsysError:
        return Lock()


def _of_roles(database: Database) -> set[str]:
    words: set[str] = set()
    for key in database.last_keys():
        result = database.result(key)
        words |= {key, *(digest for _, digest in result.outputs)} if result else {key}
    return words


def _of_steps(plans: tuple[BuildPlan, ...], state: State) -> set[str]:
    words: set[str] = set()
    for step in {step.id: step for plan in plans for step in plan.steps}.values():
        words |= {item.source.sha256 for item in step.inputs if item.source and item.source.sha256}
        with contextlib.suppress(BuildsysError):  # an input that cannot be read
            decision, result = state.decide(step), state.result(step.id)
            if result is not None:
                words |= {decision.key, *(digest for _, digest in result.outputs)}
                action_key = state.key(step)
                words |= {digest for _, digest in action_key.inputs} if action_key else set()
    return words
