"""Names of files below a folder: one rule for archives, trees and records."""

import re
import unicodedata
from collections.abc import Iterable

from buildsys.errors import shorten

_DRIVE = re.compile(r"[A-Za-z]:")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and halves of surrogate pairs, by which Python represents names that are not
UTF-8.
"""
_MOST_NAME_BYTES, _MOST_PART_BYTES = 3000, 255
"""Longest name and longest part of a name: the limits of Linux file systems, with room for a root.
"""


class BadName(ValueError):
    """A name that may not mean exactly one file below a folder, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def check_relative_name(name: str) -> None:
    """Raise BadName for a name that is not certainly one file below a folder.

    Valid names have parts that are not empty, `.` or `..`, and contain no backslash, drive letter
    or control character; they can be written as UTF-8.
    """
    if name.startswith("/") or _DRIVE.match(name):
        raise BadName(f"`{shorten(name)}` is an absolute path", "pack the data with relative paths")
    if "\\" in name:
        message = f"`{shorten(name)}` has a backslash in its name"
        raise BadName(message, "pack it with forward slashes")
    if _UNPRINTABLE.search(name):
        raise BadName(f"`{shorten(name)}` has a control character in its name or is not UTF-8")
    parts = name.split("/")
    if ".." in parts:
        message = f"`{shorten(name)}` leads out of its folder"
        raise BadName(message, "pack it without `..`")
    if "" in parts or "." in parts:
        raise BadName(f"`{shorten(name)}` is not a plain name: a part of it is empty or `.`")
    if len(name) * 4 > _MOST_PART_BYTES and _is_long(name, parts):
        raise BadName(f"the name `{shorten(name)}` is too long")


def _is_long(name: str, parts: list[str]) -> bool:
    longest = max(len(part.encode()) for part in parts)
    return longest > _MOST_PART_BYTES or len(name.encode()) > _MOST_NAME_BYTES


class NameSet:
    """A set of names, compared like a file system that ignores case and normal form."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    def __len__(self) -> int:
        """Return the number of files and folders."""
        return len(self._seen)

    def add(self, name: str, is_folder: bool = False) -> None:
        """Add a name and the folders above it. Raises BadName where two names would be the same."""
        self._add_one(name, is_folder)
        end = name.rfind("/")
        while end > 0 and self._add_one(name[:end], is_folder=True):
            end = name.rfind("/", 0, end)

    def _add_one(self, path: str, is_folder: bool) -> bool:
        """Return whether the path is new."""
        key = fold_name(path)
        before = self._seen.setdefault(key, now := (path, is_folder))
        if before is now:
            return True
        if before != now or not is_folder:
            raise _collision(before[0], path)
        return False


_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}


def is_junk(name: str) -> bool:
    """Return whether macOS or Windows put the file beside those of a person."""
    parts = name.split("/")
    return not _JUNK.isdisjoint(parts) or parts[-1].startswith("._")


def check_names(names: Iterable[str]) -> None:
    """Raise BadName unless these relative names can be files in one folder on any machine."""
    seen = NameSet()
    for name in names:
        check_relative_name(name)
        seen.add(name)


def _collision(first: str, second: str) -> BadName:
    if first == second:
        return BadName(f"duplicate file name `{shorten(first)}`", "pack every file once")
    what = f"`{shorten(first)}` and `{shorten(second)}`"
    return BadName(f"{what} are the same name on some file systems", "rename one of them")


def fold_name(name: str) -> str:
    """Return a text that is equal for names that a file system without case and normal form
    equates.
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
