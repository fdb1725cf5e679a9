"""Caches earlier findings together with everything that they depend on.

All such caches have one file format: named entries, each a value with a text, the stats of files
and the signatures of folders. An entry is used while all of them are unchanged. A file that is
absent, damaged or of another format counts as empty: losing it costs a second.
"""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from buildsys.execution.state import fingerprint
from buildsys.files import stat_line, stat_text, write_atomic
from buildsys.records import find_record, write_record

Tree = tuple[str, tuple[str, ...]]
"""A folder and the parts below it that belong to a tree, see `fingerprint.walk`."""


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
