"""Records which files were published, and finds what differs from the record now.

There is one record per build, of build/<recipe>/<target>/, in .buildsys/published, and one of
build/report. A folder counts as published while it has the same files with the same bytes and
permissions, and no others. Files with the recorded stat are not read again. `__pycache__` of
programs that a person ran there is ignored.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from buildsys.digest import digest_file
from buildsys.errors import shorten
from buildsys.execution.places import Workspace
from buildsys.execution.state.manifests import read_manifest
from buildsys.files import free_name, stat_line, write_atomic
from buildsys.names import is_junk
from buildsys.records import Digest, Size, find_record, write_record
from buildsys.write_errors import writing

PrintLine = Callable[[str], None]
_CACHE = "__pycache__"
_ALWAYS = ("manifest.json", "build.json", "latency.json", "logs", "curves", "training")
"""Our own files in a folder without a record, beside those that its manifest names."""
_MOST_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """A published file; `stat`: its `stat_line` when its bytes were last checked."""

    size: Size
    digest: Digest
    mode: int
    stat: str


@dataclass(frozen=True, kw_only=True)
class PublishedFolder:
    """A published folder: what it was made from, its files and links by name, its folders'
    stats.
    """

    format: Literal[1]
    of: Digest
    files: dict[str, PublishedFile]
    links: dict[str, str]
    folders: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A difference from the published folder; `name`: relative to the folder."""

    name: str
    what: Literal[
        "was changed", "has other permissions", "is missing", "is not part of what was published"
    ]


def read(workspace: Workspace, build: str) -> PublishedFolder | None:
    """Return the record of a published folder; None if there is none."""
    return find_record(PublishedFolder, _place(workspace, build))


def write(workspace: Workspace, build: str, record: PublishedFolder) -> None:
    """Record a published folder. Raises CannotWrite, OSError."""
    place = _place(workspace, build)
    workspace.own(place.parent)
    write_atomic(place, write_record(record))


def forget(workspace: Workspace, build: str) -> None:
    """Mark the folder as not published. Raises CannotWrite, OSError."""
    place = _place(workspace, build)
    workspace.own(place.parent)
    place.unlink(missing_ok=True)


def describe(folder: Path, of: str) -> PublishedFolder:
    """Return a record of a folder as it is now, reading all files; `of`: digest of its origin."""
    found = _list(folder)
    files = {
        name: PublishedFile(
            size=status.st_size,
            digest=digest_file(folder / name),
            mode=stat.S_IMODE(status.st_mode),
            stat=stat_line(status),
        )
        for name, status in found.files.items()
    }
    return PublishedFolder(format=1, of=of, files=files, links=found.links, folders=found.folders)


def compare(
    folder: Path, record: PublishedFolder
) -> tuple[tuple[Difference, ...], PublishedFolder]:
    """Return the differences from the record by name, and the record, with new stats if none
    differ.
    """
    now = _list(folder)
    fresh: dict[str, PublishedFile] = {}
    found = [
        Difference(name=name, what="is not part of what was published")
        for name in now.names - record.files.keys() - record.links.keys()
    ]
    for name, target in record.links.items():
        if name not in now.names:
            found.append(Difference(name=name, what="is missing"))
        elif now.links.get(name) != target:
            found.append(Difference(name=name, what="was changed"))
    for name, file in record.files.items():
        status = now.files.get(name)
        if status is None:
            what: Literal["was changed", "is missing"]
            what = "was changed" if name in now.names else "is missing"
            found.append(Difference(name=name, what=what))
        elif stat_line(status) != file.stat:
            if status.st_size != file.size or digest_file(folder / name) != file.digest:
                found.append(Difference(name=name, what="was changed"))
            elif stat.S_IMODE(status.st_mode) != file.mode:
                found.append(Difference(name=name, what="has other permissions"))
            fresh[name] = replace(file, stat=stat_line(status))
    files = record.files | fresh if fresh else record.files
    same = replace(record, files=files, folders=now.folders)
    return tuple(sorted(found, key=lambda each: each.name)), same


def _foreign_files(folder: Path, record: PublishedFolder | None) -> tuple[str, ...]:
    """Return foreign files in a folder, sorted; an entirely foreign folder is one name.

    Without a record, the manifest's names count as ours.
    """
    names = _list(folder).names
    if record is not None:
        ours = names & {*record.files, *record.links}
        folders = record.folders.keys() | _parents(ours)
    else:
        listed = _listed(folder)
        ours = {name for name in names if name in listed or name.partition("/")[0] in _ALWAYS}
        folders = _parents(ours)
    return tuple(sorted({_topmost(name, folders) for name in names - ours}))


def _parents(names: Iterable[str]) -> set[str]:
    """Return every parent folder of these names."""
    return {str(parent) for name in names for parent in PurePosixPath(name).parents}


def _topmost(name: str, folders: Set[str]) -> str:
    """Return the first folder of a path that is not in `folders`, by name."""
    way = [str(parent) for parent in reversed(PurePosixPath(name).parents)]
    return next((each for each in way[1:] if each not in folders), name)


def print_changes(
    workspace: Workspace, name: str, folder: Path, done: str, print_line: PrintLine
) -> None:
    """Print which files of a folder a person changed or removed.

    `done`: what happens to them now.
    """
    record = read(workspace, name)
    if record is None or not folder.is_dir():
        return
    differences, _ = compare(folder, record)
    changed = tuple(
        each for each in differences if each.what != "is not part of what was published"
    )
    if changed:
        print_line(f"{os.path.relpath(folder, workspace.root)}: {render(changed)}; {done}")


def keep_aside(
    workspace: Workspace,
    name: str,
    folder: Path,
    record: PublishedFolder | None,
    print_line: PrintLine,
) -> None:
    """Move foreign files out of a folder that is removed, or a file in its place, to
    build/.kept/NAME.

    Raises CannotWrite, OSError.
    """
    names = _foreign_files(folder, record)
    if os.path.lexists(folder) and not folder.is_dir():
        folder, names = folder.parent, (folder.name,)
    for stranger in names:
        target = workspace.own(free_name(workspace.build / ".kept" / name / stranger))
        with writing(os.path.relpath(target, workspace.root), target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            (folder / stranger).rename(target)
        old, new = (os.path.relpath(path, workspace.root) for path in (folder / stranger, target))
        print_line(
            f"{shorten(old)} is not part of what was published: it was moved to {shorten(new)}"
        )


def render(differences: tuple[Difference, ...]) -> str:
    """Return text such as "manifest.json was changed, labels.txt is missing, and 3 more"."""
    shown = [f"{shorten(each.name)} {each.what}" for each in differences[:_MOST_NAMED]]
    more = len(differences) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more else "")


@dataclass(frozen=True, kw_only=True)
class _Listing:
    """A folder's content: regular files, links with their targets, folders ("" is itself), the
    rest.
    """

    files: dict[str, os.stat_result]
    links: dict[str, str]
    folders: dict[str, str]
    others: frozenset[str]

    @property
    def names(self) -> set[str]:
        """Return all names except those of folders."""
        return {*self.files, *self.links, *self.others}


def _list(folder: Path) -> _Listing:
    files: dict[str, os.stat_result] = {}
    links: dict[str, str] = {}
    folders: dict[str, str] = {}
    others: set[str] = set()
    for name, path, status in _walk(os.fspath(folder), ""):
        if stat.S_ISDIR(status.st_mode):
            folders[name] = stat_line(status)
        elif stat.S_ISREG(status.st_mode):
            files[name] = status
        elif stat.S_ISLNK(status.st_mode):
            links[name] = os.readlink(path)
        else:
            others.add(name)
    return _Listing(files=files, links=links, folders=folders, others=frozenset(others))


def _walk(folder: str, name: str) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield (name, path, stat) of a folder and all below it; links are not followed.

    Files that file managers leave (.DS_Store) are ignored.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(folder)
        if not stat.S_ISDIR(status.st_mode):
            return
        yield name, folder, status
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            if is_junk(entry.name):
                continue
            inner = f"{name}/{entry.name}" if name else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield inner, entry.path, entry.stat(follow_symlinks=False)
            elif entry.name != _CACHE:
                yield from _walk(entry.path, inner)


def _listed(folder: Path) -> set[str]:
    """Return the files that a manifest names; empty without a manifest."""
    manifest = read_manifest(folder)
    return set(manifest.files) if manifest is not None else set()


def _place(workspace: Workspace, build: str) -> Path:
    return workspace.state / "published" / f"{build}.json"
