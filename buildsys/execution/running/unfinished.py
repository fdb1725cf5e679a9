"""What an interrupted training goes on from, as one file: it can go on on another machine.

A training leaves all that its next epoch needs in `work/` of its working folder (see `running.runner`).
The file is a plain tar of that: equal files, equal bytes. Whoever can write such a file decides what
network comes out: it is taken from where results are taken from, and from nowhere else.
"""

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

from buildsys.errors import InputError
from buildsys.execution.store import archives
from buildsys.files import remove_tree, stat_line, temporary_file

_WORK = "work"
_TRIES = 3
"""A training writes once an epoch: one that has written during each of so many tries is packed later."""


def pack(folder: Path, archive: Path) -> bool:
    """The work of a working folder as a file; False, and no file, where there is none, or where it was
    written into meanwhile.

    The training may run on: what it writes in the middle of this is packed anew. Raises OSError.
    """
    for _ in range(_TRIES):
        try:
            before = _list(folder / _WORK)
            if not before:
                return False
            with temporary_file(archive.parent) as temporary:
                _write(folder / _WORK, temporary)
                if _list(folder / _WORK) == before:
                    temporary.replace(archive)
                    return True
        except (FileNotFoundError, _Changed):
            continue
    return False


def unpack(archive: Path, folder: Path) -> bool:
    """The work of a file into a working folder that has none; False where it has some, or where the file
    is damaged: then nothing is left of it.
    """
    if has_work(folder):
        return False  # of a run that was ended here
    remove_tree(folder / _WORK)
    try:
        archives.unpack(archive, folder / _WORK)
    except InputError:
        return False
    return True


def has_work(folder: Path) -> bool:
    """Whether a working folder has work that a training goes on from."""
    return bool(_list(folder / _WORK))


class _Changed(Exception):
    """A file became shorter while it was read."""


def _list(work: Path) -> dict[str, str]:
    """Its files, with what changes when one of them is written."""
    return {name: stat_line(found) for name, found, _ in _files(work)}


def _write(work: Path, archive: Path) -> None:
    with tarfile.open(archive, "w") as tar:
        for name, found, folder in _files(work):
            member = tarfile.TarInfo(name)
            member.size = found.st_size
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            number = os.open(os.path.basename(name), flags, dir_fd=folder)
            with open(number, "rb") as stream:
                try:
                    tar.addfile(member, stream)
                except OSError as error:
                    if error.errno is None:
                        raise _Changed from error
                    raise


def _files(work: Path) -> Iterator[tuple[str, os.stat_result, int]]:
    """(name from the folder, stat, descriptor of the folder that it is in) of each regular file, sorted.

    The step may put a link in the place of a folder at any time: none is followed.
    """
    if not work.is_dir():
        return
    for place, folders, names, descriptor in os.fwalk(work):
        folders.sort()
        for name in sorted(names):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield os.path.relpath(os.path.join(place, name), work), found, descriptor
