"""Digests of what people give: files and datasets, read again only when their stat changed."""

import contextlib
import hashlib
import os
import time
from pathlib import Path

from buildsys.digest import digest_bytes, digest_file
from buildsys.engine.database import Database
from buildsys.engine.store import Store, encode_index
from buildsys.errors import CannotWrite, Diagnostic, InputError
from buildsys.graph import Source

_RACY_NANOSECONDS = 50_000_000
"""A file changed less than this ago may change again within one tick of the file system's clock."""


class Sources:
    """Digests of sources, each computed at most once a run."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database, self._store = database, store
        self._known: dict[Source, str] = {}

    def digest(self, source: Source) -> str:
        """Digest of a file, or of a tree's index. Raises InputError."""
        if source not in self._known:
            self._known[source] = self._tree(source) if source.parts else self._file(source)
        return self._known[source]

    def forget(self, source: Source) -> None:
        """Look again at the next question."""
        self._known.pop(source, None)

    def files(self, source: Source) -> list[str]:
        """Paths of a tree's files relative to its folder, sorted."""
        return [name for name, _ in _walk(source)]

    def _file(self, source: Source) -> str:
        path = Path(source.path)
        try:
            found = path.stat()
        except OSError as error:
            if source.sha256 and self._store.has(source.sha256, tree=False):
                return source.sha256
            message = f"{source.label} cannot be read: {error.strerror}"
            raise InputError(Diagnostic(path=source.label, message=message)) from error
        stat, known = _stat_text(found), self._database.file(str(path))
        if known is not None and known[0] == stat and source.sha256 in ("", known[1]):
            digest = known[1]
        else:
            racy = _is_racy(found)  # as it was when we looked, however long reading takes
            digest = digest_file(path)
            if not racy:
                self._database.record_files([(str(path), stat, digest)])
        if source.sha256 and digest != source.sha256:
            raise InputError(
                Diagnostic(
                    path=source.label,
                    message=f"its sha256 is {digest}, the recipe says {source.sha256}",
                    hint="if the new file is the right one, write its digest into the recipe",
                )
            )
        return digest

    def _tree(self, source: Source) -> str:
        entries = _walk(source)
        if not entries:
            message = f"{source.label}: no file found"
            raise InputError(Diagnostic(path=source.label, message=message))
        text = "\n".join(f"{name} {_stat_text(stat)}" for name, stat in entries)
        signature = hashlib.sha256(text.encode()).hexdigest()
        name = "\0".join((source.path, *source.parts))
        known = self._database.tree(name)
        if known is not None and known[0] == signature:
            return known[1]
        index, racy = self._digest_entries(source.path, entries)
        data = encode_index(index)
        digest = digest_bytes(data)
        with contextlib.suppress(CannotWrite):  # only to say later which file changed
            self._store.put_bytes(data)
        if not racy:
            self._database.record_tree(name, signature, digest)
        return digest

    def _digest_entries(
        self, root: str, entries: list[tuple[str, os.stat_result]]
    ) -> tuple[list[tuple[str, int, str]], bool]:
        """The index of a tree; only files whose stat changed are read."""
        known = self._database.files_below(root)
        index, fresh, any_racy = [], [], False
        for name, stat in entries:
            path, text = f"{root}/{name}", _stat_text(stat)
            if known.get(path, ("", ""))[0] == text:
                digest = known[path][1]
            else:
                racy = _is_racy(stat)
                digest = digest_file(Path(path))
                any_racy |= racy
                if not racy:
                    fresh.append((path, text, digest))
            index.append((name, stat.st_size, digest))
        self._database.record_files(fresh)
        return index, any_racy


def changed_files(store: Store, old: str, new: str) -> list[str]:
    """Which paths differ between two tree digests; empty when the old index is gone."""
    try:
        before = {name: digest for name, _, digest in store.index(old)}
        after = {name: digest for name, _, digest in store.index(new)}
    except (OSError, ValueError, CannotWrite):
        return []
    changed = [f"{name} changed" for name in after if before.get(name, after[name]) != after[name]]
    added = [f"{name} is new" for name in after.keys() - before.keys()]
    gone = [f"{name} is gone" for name in before.keys() - after.keys()]
    return sorted(changed + added + gone)


def _walk(source: Source) -> list[tuple[str, os.stat_result]]:
    """Every file of a tree's parts with its stat, sorted; hidden files and caches left out."""
    found: dict[str, os.stat_result] = {}
    for part in source.parts:
        base = os.path.join(source.path, part)
        if any(mark in part for mark in "*?["):
            # the meaning that `buildsys check` gives a pattern: `*` stays within a folder
            for path in Path(source.path).glob(part):
                if path.is_file() and not path.name.startswith("."):
                    found[path.relative_to(source.path).as_posix()] = path.stat()
        elif os.path.isdir(base):
            root = os.path.normpath(base)
            found |= {os.path.relpath(p, source.path) if ".." in part else p[len(source.path) + 1 :]: s
                      for p, s in _scan(root)}  # fmt: skip
        elif os.path.isfile(base):
            found[part] = os.stat(base)
    return sorted(found.items())


def _scan(folder: str) -> list[tuple[str, os.stat_result]]:
    found: list[tuple[str, os.stat_result]] = []
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return found
    for entry in entries:
        if entry.name.startswith(".") or entry.name.endswith(".cache"):
            continue
        if entry.is_dir():
            found += _scan(entry.path)
        elif entry.is_file():
            found.append((entry.path, entry.stat()))
    return found


def _stat_text(stat: os.stat_result) -> str:
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino} {stat.st_ctime_ns}"


def _is_racy(stat: os.stat_result) -> bool:
    """Only the time of the change counts: anybody can date a file in the future, for ever racy.

    A change time in the future means that the clock was set back; the next change has another.
    """
    return abs(time.time_ns() - stat.st_ctime_ns) < _RACY_NANOSECONDS
