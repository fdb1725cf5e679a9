"""List the files of a dataset by their paths below its root, and report those that cannot be used.

A name that is not UTF-8 cannot be written into an index, a page or a message; a link to a parent
folder never ends; a link out of the workspace may expose files that do not belong to the dataset.
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

from buildsys.steps.lib.files.hidden_files import is_hidden

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
"""Maximum nesting of folders, the same as for step outputs."""
_Around = frozenset[tuple[int, int]]
_MARKS = frozenset("*?[")
_ENVIRONMENT = "pyvenv.cfg"
"""The file that marks a Python environment, whose images are not part of the dataset."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Files with their stats, sorted by path below the root, and (kind, path) of everything
    omitted.
    """

    files: tuple[tuple[str, os.stat_result], ...]
    faults: tuple[tuple[_Kind, str], ...]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield the problem and what to do for each kind: the first path in ASCII, and the number
        of others.
        """
        for kind, (message, hint) in _MESSAGES.items():
            paths = [path for found, path in self.faults if found == kind]
            if paths:
                more = f", and {len(paths) - 1} more like it" if len(paths) > 1 else ""
                shown = ascii(paths[0]) if kind == "name" else paths[0]
                yield f"{shown} {message}{more}", hint


def list_files(root: Path, place: str = ".") -> Iterator[str]:
    """Yield every file in and below `place`, relative to the root, with slashes; hidden files and
    folders are skipped.

    Links to folders are followed, except links to a parent folder; names that are not UTF-8, and
    files more than `_DEEPEST` folders deep, are omitted.
    """
    start = os.path.relpath(root / place, root)
    folder = str(root / place)
    return _list_files(folder, "" if start == "." else f"{start}/", _folders_around(folder))


def _list_files(folder: str, start: str, around: frozenset[tuple[int, int]]) -> Iterator[str]:
    # a link to a parent folder is not followed; one to a sibling folder is
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
        if is_hidden(entry.name) or not is_utf8(entry.name):
            continue
        if not _is_folder(entry):
            yield start + entry.name
        else:
            folders.append(entry)
    for entry in folders:
        yield from _list_files(entry.path, f"{start}{entry.name}/", around)


def list_parts(root: str, parts: Iterable[str], home: str = "") -> Listing:
    """Return every file of a tree's parts with its stat, without hidden files and caches.

    `parts`: files, folders and patterns below `root`; `*` matches within a folder, `**` matches any
    folders. `home`: the folder that links must not leave, except to `root`; empty allows any
    target. Output folders of buildsys and Python environments below `root` are skipped.
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
    """The results so far; `seen`: folders, and the number of remaining pattern segments there."""

    homes: tuple[str, ...]
    files: dict[str, os.stat_result] = field(default_factory=dict)
    faults: dict[tuple[_Kind, str], None] = field(default_factory=dict)
    seen: set[tuple[str, int]] = field(default_factory=set)


def _scan(search: _Search, folder: str, start: str, around: _Around) -> None:
    entries, around = _open(search, folder, start, around)
    for entry in entries:
        name = start + entry.name
        if is_hidden(entry.name) or entry.name.endswith(".cache"):
            continue
        # most files need none of these checks
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
    """Match a pattern in a folder, segment by segment; hidden folders only match by their exact
    name.
    """
    if (folder, len(segments)) in search.seen:
        return
    search.seen.add((folder, len(segments)))
    segment, rest = segments[0], segments[1:]
    deep = segment == "**"
    if deep and not rest:  # folders only
        return
    if deep:
        _match(search, folder, start, rest, around)
    means = re.compile(fnmatch.translate("*" if deep else segment)).match
    entries, around = _open(search, folder, start, around)
    for entry in entries:
        name = start + entry.name
        hidden = is_hidden(entry.name) and not (rest and is_hidden(segment))
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
    """Return the entries of a folder that may be read, and its parent folders; see
    `_folders_around`.
    """
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
    if ".buildsys" in names:  # a workspace: its build/ is an output folder of buildsys
        entries = [entry for entry in entries if entry.name != "build"]
    return entries, around | {(here.st_dev, here.st_ino)}


def _is_sound(search: _Search, entry: "os.DirEntry[str]", name: str) -> bool:
    """Return whether an entry has a valid name and, if it is a link, an allowed target."""
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
    """Add an entry if it, or the target of its link, is a file."""
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
    """Return the existing parent folders of a folder, after resolving links, as (device, inode)."""
    parents = Path(os.path.realpath(folder)).parents
    stats = [os.stat(path) for path in parents if os.path.isdir(path)]
    return frozenset((stat.st_dev, stat.st_ino) for stat in stats)


def is_utf8(name: str) -> bool:
    """Return whether a name on disk is UTF-8; other bytes become lone surrogates."""
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
    """Return whether a link leads to itself, directly or through others."""
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
