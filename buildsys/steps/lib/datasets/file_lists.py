"""The files of a dataset, by their paths from its root, and what among them nobody can read.

A name that is not UTF-8 cannot be written into an index, a page or a message; a link that leads back to
a folder around it has no end; a link that leads out of the workspace may show what is nobody's data.
"""

import errno
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

_RENAME = "rename it, or remove it"
_REMOVE = "remove the link"
_NAME = "copy it here, or name the dataset in buildsys.yaml: from there links may lead anywhere"

_Kind = Literal["name", "loop", "outside", "gone", "special", "unreadable", "above", "deep"]
_MESSAGES: dict[_Kind, tuple[str, str]] = {
    "name": ("is a name that is not UTF-8", _RENAME),
    "loop": ("is a link that leads back to a folder around it, or to itself", _REMOVE),
    "outside": ("leads out of the dataset and of the workspace by a symbolic link", _NAME),
    "gone": ("is a link to nothing", "bring back what it leads to, or remove the link"),
    "special": ("is a pipe, a socket or a device, not a file", "remove it"),
    "unreadable": ("may not be read by this user", "see its permissions, and those of its folder"),
    "deep": ("has folders in folders, more than 100 deep", "move up what is deeper, or remove it"),
    "above": ("has `..` in a pattern", "write the folder that is meant"),
}
_DEEPEST = 100
"""Folders within folders, as for what steps make."""
_Around = frozenset[tuple[int, int]]
_MARKS = frozenset("*?[")
_ENVIRONMENT = "pyvenv.cfg"
"""What makes a folder an environment of Python, full of other people's images."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files with their stats, sorted by path from the root, and (kind, path) of what is not among them."""

    files: tuple[tuple[str, os.stat_result], ...]
    faults: tuple[tuple[_Kind, str], ...]

    def problems(self) -> Iterator[tuple[str, str]]:
        """What is wrong and what to do, one of each kind: the first path in ASCII, and how many more."""
        for kind, (message, hint) in _MESSAGES.items():
            paths = [path for found, path in self.faults if found == kind]
            if paths:
                more = f", and {len(paths) - 1} more like it" if len(paths) > 1 else ""
                shown = ascii(paths[0]) if kind == "name" else paths[0]
                yield f"{shown} {message}{more}", hint


def list_files(root: Path, place: str = ".") -> Iterator[str]:
    """Every file in `place` and below, from the root, with slashes; nothing of hidden folders.

    Links to folders are followed, but for those that lead back to a folder around them; names that are
    not UTF-8, and what lies more than `_DEEPEST` folders deep, are left out.
    """
    start = os.path.relpath(root / place, root)
    folder = str(root / place)
    return _list_files(folder, "" if start == "." else f"{start}/", _folders_around(folder))


def _list_files(folder: str, start: str, around: frozenset[tuple[int, int]]) -> Iterator[str]:
    # a link to a folder around it ends here; one to a folder beside it is followed
    try:
        here = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    if (here.st_dev, here.st_ino) in around or start.count("/") > _DEEPEST:
        return
    around |= {(here.st_dev, here.st_ino)}
    folders = []
    for entry in entries:
        if not is_utf8(entry.name):
            continue
        if not _is_folder(entry):
            yield start + entry.name
        elif not entry.name.startswith("."):
            folders.append(entry)
    for entry in folders:
        yield from _list_files(entry.path, f"{start}{entry.name}/", around)


def list_parts(root: str, parts: Iterable[str], home: str = "") -> Listing:
    """Every file of a tree's parts with its stat; hidden files and caches left out.

    `parts`: files, folders and patterns below `root`, of which `*` stays within a folder, `**` means
    any folders. `home`: the folder that links may not lead out of, but to `root`; empty where they may
    lead anywhere. What is found below `root` is without the folders that buildsys fills, and without
    environments of Python.
    """
    search = _Search(homes=tuple(map(os.path.realpath, (home, root))) if home else ())
    for part in parts:
        base = os.path.join(root, part)
        if not is_utf8(part):
            search.faults["name", part] = None
        elif _MARKS & set(part):
            _match_pattern(search, root, part)
        elif _is_outside(base, search.homes):
            search.faults["outside", part] = None
        elif os.path.isdir(base):
            folder = os.path.normpath(base)
            start = os.path.relpath(folder, root) if ".." in part else folder[len(root) + 1 :]
            start = f"{start}/" if start else ""
            _scan(search, folder, start, _folders_around(folder))
        elif os.path.lexists(base):
            _add(search, base, part)
    return Listing(files=tuple(sorted(search.files.items())), faults=tuple(sorted(search.faults)))


@dataclass(frozen=True, kw_only=True)
class _Search:
    """What is found on the way; `seen`: folders, and how many segments of a pattern were left there."""

    homes: tuple[str, ...]
    files: dict[str, os.stat_result] = field(default_factory=dict)
    faults: dict[tuple[_Kind, str], None] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)


def _scan(search: _Search, folder: str, start: str, around: _Around) -> None:
    entries, around = _open(search, folder, start, around)
    for entry in entries:
        name = start + entry.name
        if entry.name.startswith(".") or entry.name.endswith(".cache"):
            continue
        # the usual file, of which there are many, has none of these to be asked about
        odd = entry.is_symlink() or not entry.name.isascii()
        if odd and not _is_sound(search, entry, name):
            continue
        if entry.is_dir():
            _scan(search, entry.path, f"{name}/", around)
        elif not odd and entry.is_file():
            search.files[name] = entry.stat()
        else:
            _add(search, entry.path, name)


def _match_pattern(search: _Search, root: str, pattern: str) -> None:
    segments = [word for word in pattern.split("/") if word not in ("", ".")]
    if ".." in segments:
        search.faults["above", pattern] = None
        return
    kept = tuple(w for i, w in enumerate(segments) if w != "**" or segments[i - 1 : i] != ["**"])
    search.seen.clear()
    _match(search, root, "", kept, _folders_around(root))


def _match(
    search: _Search, folder: str, start: str, segments: tuple[str, ...], around: _Around
) -> None:
    """What of a folder a pattern means, segment by segment; hidden folders only by their name."""
    if (folder, len(segments)) in search.seen:
        return
    search.seen.add((folder, len(segments)))
    segment, rest = segments[0], segments[1:]
    deep = segment == "**"
    if deep and not rest:  # folders alone
        return
    if deep:
        _match(search, folder, start, rest, around)
    means = re.compile(fnmatch.translate("*" if deep else segment)).match
    entries, around = _open(search, folder, start, around)
    for entry in entries:
        name = start + entry.name
        hidden = entry.name.startswith(".") and not (rest and segment.startswith("."))
        if hidden or not means(entry.name):
            continue
        if deep:
            if entry.is_dir(follow_symlinks=False):
                _match(search, entry.path, f"{name}/", segments, around)
        elif _is_sound(search, entry, name):
            if rest and entry.is_dir():
                _match(search, entry.path, f"{name}/", rest, around)
            elif not rest and not entry.is_dir():
                _add(search, entry.path, name)


def _open(
    search: _Search, folder: str, start: str, around: _Around
) -> tuple[list["os.DirEntry[str]"], _Around]:
    """What is in a folder that may be looked into, and the folders around that; see `_folders_around`."""
    if start.count("/") > _DEEPEST:
        search.faults["deep", "/".join(start.split("/")[:3])] = None
        return [], around
    try:
        here = os.stat(folder)
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return [], around
    except PermissionError:
        search.faults["unreadable", start.rstrip("/") or "."] = None
        return [], around
    if (here.st_dev, here.st_ino) in around:
        search.faults["loop", start.rstrip("/")] = None
        return [], around
    names = {entry.name for entry in entries}
    if start and _ENVIRONMENT in names:
        return [], around
    if ".buildsys" in names:  # a workspace: its build/ is what buildsys fills
        entries = [entry for entry in entries if entry.name != "build"]
    return entries, around | {(here.st_dev, here.st_ino)}


def _is_sound(search: _Search, entry: "os.DirEntry[str]", name: str) -> bool:
    """Whether it has a name and, where it is a link, an end that may be looked at."""
    if not is_utf8(entry.name):
        search.faults["name", name] = None
        return False
    if entry.is_symlink():
        if _is_endless(entry.path):
            search.faults["loop", name] = None
            return False
        if _is_outside(entry.path, search.homes):
            search.faults["outside", name] = None
            return False
    return True


def _add(search: _Search, path: str, name: str) -> None:
    """A file, if it is one: what it is, a link to it is."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        search.faults["gone", name] = None
    except PermissionError:
        search.faults["unreadable", name] = None
    except OSError:
        search.faults["loop", name] = None
    else:
        if stat.S_ISREG(status.st_mode):
            search.files[name] = status
        else:
            search.faults["special", name] = None


def _folders_around(folder: str) -> frozenset[tuple[int, int]]:
    """The folders that a folder really lies in, as (device, inode); those that are there."""
    parents = Path(os.path.realpath(folder)).parents
    stats = [os.stat(path) for path in parents if os.path.isdir(path)]
    return frozenset((stat.st_dev, stat.st_ino) for stat in stats)


def is_utf8(name: str) -> bool:
    """Whether a name on disk is text; other bytes arrive as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_outside(path: str, homes: tuple[str, ...]) -> bool:
    if not homes:
        return False
    real = os.path.realpath(path)
    return not any(real == each or real.startswith(each.rstrip("/") + "/") for each in homes)


def _is_endless(path: str) -> bool:
    """Whether a link leads to itself, straight or through others."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
