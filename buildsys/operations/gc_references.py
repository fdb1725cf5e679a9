"""What a workspace counts on in the store: action keys and digests, as words of 64 hex digits.

Three sources, read without changing anything there: buildsys.lock, the manifests in build/, and the
results of the current plans. Formats play no part in the first two: every such word counts.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import make_plans
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.lockfile import Lock, read_lock
from buildsys.execution.store.inventory import DIGEST
from buildsys.execution.store.store import Store
from buildsys.graph import Plan


def references(workspace: Workspace, store: Store) -> frozenset[str]:
    """Everything that a workspace counts on. Raises OSError where it may not be looked into."""
    words: set[str] = set()
    for path in (workspace.root / "buildsys.lock", *_manifests(workspace)):
        with contextlib.suppress(FileNotFoundError):
            words |= set(DIGEST.findall(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(words | _of_plans(workspace, store))


def _manifests(workspace: Workspace) -> list[Path]:
    """Every JSON file that says what a published folder is made of."""
    found: list[Path] = []
    os.scandir(workspace.root).close()  # os.walk asks for errors below, not for its own folder's
    for folder, _, files in os.walk(workspace.build, onerror=_raise):
        found += [Path(folder, name) for name in files if name == "manifest.json"]
    return found


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _of_plans(workspace: Workspace, store: Store) -> set[str]:
    """Keys and outputs of every step that is up to date; where a recipe is broken, of every role.

    Decides over a copy of the workspace's memory: it may belong to somebody else, and be in use.
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


def _plans(workspace: Workspace) -> tuple[tuple[Plan, ...], bool]:
    """The current plans, and whether some could not be made."""
    try:
        loaded = make_plans(workspace)
    except BuildsysError:
        return (), True
    return loaded.plans, bool(loaded.errors)


def _lock(workspace: Workspace) -> Lock:
    """What it records; a broken one protects what it names all the same: its words are read as text."""
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


def _of_steps(plans: tuple[Plan, ...], state: State) -> set[str]:
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
