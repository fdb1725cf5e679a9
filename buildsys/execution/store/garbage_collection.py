"""Decides on an inventory which files of a store are unused, then removes them.

Files that a known workspace needs, and files used within the last hour, always stay: so a current
run need not be waited for, and if it loses a file, it makes it again. A running step cannot: what it
reads from the store is marked as used meanwhile, see `running.runner`.
"""

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from buildsys.errors import BuildsysError
from buildsys.execution.store.action_entry import ActionEntry
from buildsys.execution.store.remote_results import kept_entries
from buildsys.execution.store.store import STAGING, STAGING_LOCK, Store
from buildsys.execution.store.tree_index import all_blobs
from buildsys.locks import is_held, locked
from buildsys.records import is_digest

YOUNG_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of the store: `name` is its key, digest or file name; `used`: seconds since 1970."""

    path: Path
    name: str
    size: int
    used: float


@dataclass(frozen=True, kw_only=True)
class Action:
    """A result: the file of its entry, and all blobs that it consists of."""

    file: File
    outputs: tuple[str, ...]
    blobs: tuple[str, ...]
    """The outputs and, for trees, their files."""
    digests_only: bool


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The content of a store."""

    actions: tuple[Action, ...]
    unreadable: tuple[File, ...]
    """Entries that cannot be read."""
    blobs: tuple[File, ...]
    leftovers: tuple[File, ...]
    """Temporary files of writers that were killed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest size of the store, and how long a result may be unused; None: no limit."""

    bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Removals:
    """The files to remove, in order, and what stays."""

    incomplete: tuple[File, ...]
    too_old: tuple[File, ...]
    too_much: tuple[File, ...]
    blobs: tuple[File, ...]
    leftovers: tuple[File, ...]
    kept_actions: int
    kept_blobs: int
    kept_bytes: int

    @property
    def files(self) -> tuple[File, ...]:
        """Return all files to remove: results before the blobs that they name."""
        results = (*self.incomplete, *self.too_old, *self.too_much)
        return (*results, *self.blobs, *self.leftovers)


def take_stock(store: Store) -> Inventory:
    """Return the inventory of a store; foreign files are left alone."""
    entries = [
        f for f in _files(store.root / "actions") if f.path.suffix == ".json" and is_digest(f.name)
    ]
    # after the entries: all blobs of a result that is added meanwhile are then found
    blobs = tuple(f for f in _files(store.root / "blobs") if is_digest(f.name))
    actions, unreadable = [], []
    for file in entries:
        action = _read_action(store, file)
        if action is None:
            unreadable.append(file)
        else:
            actions.append(action)
    for path, entry in kept_entries(store):
        for file in _look([path]):
            if entry is None:
                unreadable.append(file)
            else:
                actions.append(_action(store, replace(file, name=entry.key), entry))
    return Inventory(
        actions=tuple(actions),
        unreadable=tuple(unreadable),
        blobs=blobs,
        leftovers=tuple(_leftovers(store)),
    )


def choose(stock: Inventory, protected: frozenset[str], limits: Limits, now: float) -> Removals:
    """Choose the files to remove, without side effects.

    `protected`: action keys and blobs (for trees, including their files).
    """
    present = {blob.name for blob in stock.blobs}
    whole = [a for a in stock.actions if a.digests_only or present.issuperset(a.blobs)]
    is_whole = {action.file.path for action in whole}
    broken = [a.file for a in stock.actions if a.file.path not in is_whole]
    broken += stock.unreadable
    free = [
        action
        for action in sorted(whole, key=lambda a: (a.file.used, a.file.name))
        if not _is_young(action.file, now)
        and action.file.name not in protected
        and protected.isdisjoint(action.outputs)
    ]
    limit = limits.seconds
    too_old = [a for a in free if limit is not None and now - a.file.used > limit]
    gone = set(too_old)
    stay = [action for action in whole if action not in gone]
    sizes = {b.name: b.size for b in stock.blobs if _is_young(b, now) or b.name in protected}
    too_much = _beyond(stay, [a for a in free if a not in gone], sizes, stock, limits.bytes)
    gone |= set(too_much)
    stay = [action for action in whole if action not in gone]
    live = sizes.keys() | {blob for action in stay for blob in action.blobs}
    kept = [blob for blob in stock.blobs if blob.name in live]
    return Removals(
        incomplete=tuple(file for file in broken if not _is_young(file, now)),
        too_old=tuple(action.file for action in too_old),
        too_much=tuple(action.file for action in too_much),
        blobs=tuple(blob for blob in stock.blobs if blob.name not in live),
        leftovers=tuple(file for file in stock.leftovers if not _is_young(file, now)),
        kept_actions=len(stay),
        kept_blobs=len(kept),
        kept_bytes=sum(b.size for b in kept) + sum(a.file.size for a in stay),
    )


def remove(files: Iterable[File]) -> tuple[File, ...]:
    """Remove files that were not used since the inventory; returns the removed ones."""
    gone = []
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            if file.path.lstat().st_mtime > file.used:
                continue
            file.path.unlink()
            gone.append(file)
            if any(place.name.startswith(STAGING) for place in file.path.parents[:3]):
                with contextlib.suppress(OSError):  # not empty yet
                    os.removedirs(file.path.parent)
    return tuple(gone)


def protect(store: Store, words: Iterable[str]) -> frozenset[str]:
    """Return digests that workspaces need, including the files of trees among them.

    It is not recorded which digests are trees: any blob that reads as an index protects its files.
    Keeping too much loses nothing.
    """
    found = set(words)
    listed = {file.digest for word in found for file in store.possible_index(word)}
    return frozenset(found | listed)


def files_of(store: Store, entry: ActionEntry) -> tuple[str, ...]:
    """Return the sorted digests of an action's outputs and, for trees that are here, of their
    files.
    """
    return tuple(sorted(all_blobs(entry.artifacts, store.possible_index)))


@contextmanager
def alone(store: Store) -> Iterator[None]:
    """Allow one collection at a time in a store. Raises BuildsysError."""
    try:
        store.make()
        with locked(store.root / "gc.lock"):
            yield
    except BlockingIOError as error:
        message = f"another `buildsys gc` is running in {store.root}; wait until it ends"
        raise BuildsysError(message) from error
    except OSError as error:
        raise BuildsysError(f"{error.filename or store.root}: {error.strerror or error}") from error


def _beyond(
    stay: list[Action],
    free: list[Action],
    fixed: Mapping[str, int],
    stock: Inventory,
    limit: int | None,
) -> list[Action]:
    """Return the least recently used results to remove so that the store keeps within its limit.

    `fixed`: sizes of blobs that stay in any case.
    """
    if limit is None:
        return []
    sizes = {blob.name: blob.size for blob in stock.blobs}
    users = Counter(blob for action in stay for blob in set(action.blobs))
    total = sum(sizes.get(name, 0) for name in users.keys() | fixed.keys())
    total += sum(action.file.size for action in stay)
    gone = []
    for action in free:
        if total <= limit:
            break
        gone.append(action)
        total -= action.file.size
        for blob in set(action.blobs):
            users[blob] -= 1
            if not users[blob] and blob not in fixed:
                total -= sizes.get(blob, 0)
    return gone


def _read_action(store: Store, file: File) -> Action | None:
    """Read an entry under its name; None if damaged, of another version, or misplaced."""
    entry = store.entry(file.name)
    if entry is None or file.path.parent.name != entry.key[:2]:
        return None
    return _action(store, file, entry)


def _action(store: Store, file: File, entry: ActionEntry) -> Action:
    return Action(
        file=file,
        outputs=tuple(output.digest for output in entry.outputs),
        blobs=files_of(store, entry),
        digests_only=entry.digests_only,
    )


def _files(folder: Path) -> Iterator[File]:
    """Yield files that are in the right subfolder for their names, sorted by path."""
    paths = [path for place in _folders(folder) for path in place.iterdir()]
    return _look(path for path in sorted(paths) if path.name.startswith(path.parent.name))


def _leftovers(store: Store) -> Iterator[File]:
    """Yield temporary files, but none of a running import, which may take longer than files stay
    young; links are not followed, since they may lead anywhere.
    """
    places = [*_folders(store.root / "blobs"), *_folders(store.root / "actions")]
    places += [path for path in _folders(store.root) if path.name == "workspaces"]
    temporary = [path for place in places for path in place.glob(".tmp-*")]
    imports = [
        path
        for path in _folders(store.root)
        if path.name.startswith(STAGING) and not is_held(path / STAGING_LOCK)
    ]
    left = [
        Path(place, name)
        for folder in imports
        for place, _, names in os.walk(folder)
        for name in names
    ]
    return _look(sorted((*temporary, *left)))


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder; links are left out, and a link itself has none."""
    try:
        if folder.is_symlink():
            return []
        return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _look(paths: Iterable[Path]) -> Iterator[File]:
    """Yield those that are files; another run may move or remove some meanwhile."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                name = path.name.removesuffix(".json")
                yield File(path=path, name=name, size=status.st_size, used=status.st_mtime)


def _is_young(file: File, now: float) -> bool:
    return now - file.used < YOUNG_SECONDS
