"""The files of a dataset, by their paths from its root, and what among them nobody can read.

A name that is not UTF-8 cannot be written into an index, a page or a message; a link that leads back to
a folder around it has no end; a link that leads out of the workspace may show what is nobody's data.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_RENAME = "rename it, or remove it"
_REMOVE = "remove the link"
_NAME = "copy it here, or name the dataset in buildsys.yaml: from there links may lead anywhere"

_Kind = Literal["name", "loop", "outside"]
_MESSAGES: dict[_Kind, tuple[str, str]] = {
    "name": ("is a name that is not UTF-8", _RENAME),
    "loop": ("is a link that leads back to a folder around it, or to itself", _REMOVE),
    "outside": ("leads out of the dataset and of the workspace by a symbolic link", _NAME),
}


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
    not UTF-8 are left out.
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
    if (here.st_dev, here.st_ino) in around:
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

    `parts`: files, folders and patterns below `root`. `home`: the folder that links may not lead out
    of, but to `root`; empty where they may lead anywhere.
    """
    found: dict[str, os.stat_result] = {}
    faults: dict[tuple[_Kind, str], None] = {}
    homes = tuple(map(os.path.realpath, (home, root))) if home else ()
    for part in parts:
        base = os.path.join(root, part)
        if not is_utf8(part):
            faults["name", part] = None
        elif any(mark in part for mark in "*?["):
            # the meaning that `buildsys check` gives a pattern: `*` stays within a folder
            for path in Path(root).glob(part):
                name = path.relative_to(root).as_posix()
                if path.name.startswith(".") or not path.is_file():
                    continue
                if not is_utf8(name):
                    faults["name", name] = None
                elif _is_outside(str(path), homes):
                    faults["outside", name] = None
                else:
                    found[name] = path.stat()
        elif _is_outside(base, homes):
            faults["outside", part] = None
        elif os.path.isdir(base):
            folder = os.path.normpath(base)
            start = os.path.relpath(folder, root) if ".." in part else folder[len(root) + 1 :]
            start = f"{start}/" if start else ""
            _scan(folder, start, homes, _folders_around(folder), found, faults)
        elif os.path.isfile(base):
            found[part] = os.stat(base)
    return Listing(files=tuple(sorted(found.items())), faults=tuple(sorted(faults)))


def _scan(
    folder: str,
    start: str,
    homes: tuple[str, ...],
    around: frozenset[tuple[int, int]],
    found: dict[str, os.stat_result],
    faults: dict[tuple[_Kind, str], None],
) -> None:
    try:
        here = os.stat(folder)
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    if (here.st_dev, here.st_ino) in around:
        faults["loop", start.rstrip("/")] = None
        return
    around |= {(here.st_dev, here.st_ino)}
    for entry in entries:
        name = start + entry.name
        if entry.name.startswith(".") or entry.name.endswith(".cache"):
            continue
        if not is_utf8(entry.name):
            faults["name", name] = None
            continue
        if entry.is_symlink():
            if _is_endless(entry.path):
                faults["loop", name] = None
                continue
            if _is_outside(entry.path, homes):
                faults["outside", name] = None
                continue
        if entry.is_dir():
            _scan(entry.path, f"{name}/", homes, around, found, faults)
        elif entry.is_file():
            found[name] = entry.stat()


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
