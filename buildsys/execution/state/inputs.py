"""Digests of the files and datasets that people provide; read again only when their stat
changed.
"""

import contextlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

from buildsys.digest import digest_bytes, digest_file
from buildsys.errors import CannotWrite, InputError
from buildsys.execution.state import fingerprint
from buildsys.execution.state.database import Database
from buildsys.execution.store.store import Store
from buildsys.execution.store.tree_index import encode_index
from buildsys.files import may_change_again, stat_line
from buildsys.graph import Source
from buildsys.lockfile import Lock
from buildsys.steps.lib.datasets.file_lists import list_parts

_GONE = "put it back, or change the recipe that names it"


class Sources:
    """Digests of sources, each computed at most once in a run."""

    def __init__(self, database: Database, store: Store, lock: Lock) -> None:
        self._database, self._store, self._lock = database, store, lock
        self._known: dict[Source, str] = {}

    def digest(self, source: Source) -> str:
        """Return the digest of a file or of a tree's index; the recorded one if the source is
        missing.

        Raises InputError.
        """
        if source not in self._known:
            self._known[source] = self._tree(source) if source.parts else self._file(source)
        return self._known[source]

    def known_stat(self, source: Source) -> str | None:
        """Return the stat or signature that belongs to this run's digest.

        Returns None if it may have changed.
        """
        self.digest(source)
        if source.parts:
            known = self._database.tree(tree_name(source))
        else:
            known = self._database.file(source.path)
        if known is not None:
            return known[0]
        return None if os.path.exists(source.path) else "absent"

    def is_missing(self, source: Source) -> bool:
        """Return whether a source does not exist here although buildsys.lock records its facts."""
        if os.path.exists(source.path):
            return False
        return not (source.sha256 and self._store.has(source.sha256, tree=False))

    def _recorded(self, source: Source) -> str:
        """Return the digest that buildsys.lock records; otherwise an empty text."""
        if not source.kind or os.path.exists(source.path):
            return ""
        digest = self._lock.digest(f"{source.kind} {source.label}")
        return digest if source.sha256 in ("", digest) else ""

    def forget(self, source: Source) -> None:
        """Discard the digest: the next call reads the source again."""
        self._known.pop(source, None)

    def files(self, source: Source) -> list[str]:
        """Return the paths of a tree's files relative to its folder, sorted."""
        return [name for name, _ in list_parts(source.path, source.parts, source.home).files]

    def _file(self, source: Source) -> str:
        path = Path(source.path)
        try:
            found = path.stat()
        except OSError as error:
            if source.sha256 and self._store.has(source.sha256, tree=False):
                return source.sha256
            if recorded := self._recorded(source):
                return recorded
            raise _unreadable(source.name, error) from error
        if not stat.S_ISREG(found.st_mode):  # reading a pipe blocks, and a device never ends
            raise InputError.at(source.name, "is not a file", "replace it by the file")
        status, known = stat_line(found), self._database.file(str(path))
        if known is not None and known[0] == status and source.sha256 in ("", known[1]):
            digest = known[1]
        else:
            racy = may_change_again(status)  # decided before reading, which may take long
            digest = _digest(path, source.name)
            if not racy:
                self._database.record_files([(str(path), status, digest)])
        if source.sha256 and digest != source.sha256:
            raise InputError.at(
                source.name,
                f"its sha256 is {digest}, but the recipe has {source.sha256}",
                "if the new file is the right one, write its digest into the recipe",
            )
        return digest

    def _tree(self, source: Source) -> str:
        listing = list_parts(source.path, source.parts, source.home)
        entries = list(listing.files)
        for message, hint in listing.problems():
            raise InputError.at(source.name, message, hint)
        if not entries:
            if recorded := self._recorded(source):
                return recorded
            raise InputError.at(source.name, "no file found", _GONE)
        signature = fingerprint.signature(entries)
        name = tree_name(source)
        known = self._database.tree(name)
        if known is not None and known[0] == signature:
            return known[1]
        index, racy = self._digest_entries(source.path, entries)
        data = encode_index(index)
        digest = digest_bytes(data)
        with contextlib.suppress(CannotWrite):  # used only to name changed files later
            self._store.put_bytes(data)
        if not racy:
            self._database.record_tree(name, signature, digest)
        return digest

    def _digest_entries(
        self, root: str, entries: list[tuple[str, os.stat_result]]
    ) -> tuple[list[tuple[str, int, str]], bool]:
        """Return the index of a tree; only files whose stat changed are read."""
        known = self._database.files_below(root)
        index, fresh, any_racy = [], [], False
        for name, status in entries:
            path, text = f"{root}/{name}", stat_line(status)
            if known.get(path, ("", ""))[0] == text:
                digest = known[path][1]
            else:
                racy = may_change_again(text)
                digest = _digest(Path(path), name)
                any_racy |= racy
                if not racy:
                    fresh.append((path, text, digest))
            index.append((name, status.st_size, digest))
        self._database.record_files(fresh)
        return index, any_racy


def tree_name(source: Source) -> str:
    """Return the name of a tree in the database."""
    return "\0".join((source.path, *source.parts))


def describe_changes(store: Store, old: str, new: str, label: str) -> list[str]:
    """Return what differs between two tree digests; empty if the old index is missing.

    Each text names the first path of its kind, and the number of the others. `label`: the name of
    the tree, for one without any earlier path.
    """
    try:
        before = {name: digest for name, _, digest in store.index(old)}
        after = {name: digest for name, _, digest in store.index(new)}
    except (OSError, CannotWrite):
        return []
    if before.keys().isdisjoint(after):  # a recipe that names other files, as a rule
        return [f"no earlier file is in {label}"]
    kinds = {
        "changed": [n for n in after if before.get(n, after[n]) != after[n]],
        "is new": after.keys() - before.keys(),
        "is gone": before.keys() - after.keys(),
    }
    return [_first_of(names, what) for what, names in kinds.items() if names]


def _first_of(names: Collection[str], what: str) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{min(names)} {what}{more}"


def _digest(path: Path, label: str) -> str:
    """Return a file's digest. Raises InputError if it cannot be read."""
    try:
        return digest_file(path)
    except OSError as error:
        raise _unreadable(label, error) from error


def _unreadable(label: str, error: OSError) -> InputError:
    hint = _GONE if isinstance(error, FileNotFoundError) else "check its permissions, and its disk"
    return InputError.at(label, f"cannot be read: {error.strerror or error}", hint)
