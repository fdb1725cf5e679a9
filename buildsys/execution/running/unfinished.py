"""Packs what an interrupted training continues from into one file, for another machine.

A training keeps everything that its next epoch needs in `work/` of its working folder (see
`running.runner`). The file is a plain tar of it: equal files, equal bytes. Since the file decides
the trained network, it is accepted only from sources that results are accepted from.
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
"""Attempts: a training writes once per epoch; one that writes during each attempt is packed later.
"""


def pack(folder: Path, archive: Path) -> bool:
    """Pack the work of a working folder into a file.

    Returns False, without a file, if there is no work or it changed during every attempt: the
    training may still run. Raises OSError.
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
    """Unpack work into a working folder without any.

    Returns False if the folder has work or the file is damaged; nothing is left of a damaged one.
    """
    if has_work(folder):
        return False  # from a run that ended here
    remove_tree(folder / _WORK)
    try:
        archives.unpack(archive, folder / _WORK)
    except InputError:
        return False
    return True


def has_work(folder: Path) -> bool:
    """Return whether a working folder has work that a training continues from."""
    return bool(_list(folder / _WORK))


class _Changed(Exception):
    """A file became shorter while it was read."""


def _list(work: Path) -> dict[str, str]:
    """Return the files with a text that changes when they are written."""
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
    """Yield (name from the folder, stat, descriptor of its folder) of each regular file, sorted.

    The step may replace a folder by a link at any time: no link is followed.
    """
    if not work.is_dir():
        return
    for place, folders, names, descriptor in os.fwalk(work):
        folders.sort()
        for name in sorted(names):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield os.path.relpath(os.path.join(place, name), work), found, descriptor
