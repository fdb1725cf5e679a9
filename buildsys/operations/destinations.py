"""A path that a person gave for output: checked before any work, with a sentence on failure.

Links are followed and kept; a device is never replaced by a file.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from buildsys.errors import CannotWrite, InputError
from buildsys.names import is_junk
from buildsys.write_errors import writing

OURS = ".buildsys-"
"""Prefix of temporary names: leftovers of a killed run are removed by the next."""
_OF_DISKS = "lost+found"
"""Names that a file system creates in an empty disk's root folder."""


def find_folder(named: Path) -> Path:
    """Return where a folder is or will be, links followed; creates nothing.

    Raises InputError for a path that cannot be a folder, CannotWrite where this user may not write.
    """
    place, mode = _look(named)
    if mode is not None and not stat.S_ISDIR(mode):
        raise _refusal(named, f"is {_kind(mode)}, not a directory")
    above = place if mode is not None else _nearest(place)
    if not os.path.isdir(above):
        raise _refusal(named, f"cannot be created: {above} is a file")
    _check_permission(named, above)
    return place


def find_file(named: Path) -> Path:
    """Return where a file is or will be in an existing folder, links followed; creates nothing.

    Raises InputError for a path that cannot be a file, CannotWrite where this user may not write.
    """
    place, mode = _look(named)
    if mode is not None and not stat.S_ISREG(mode):
        raise _refusal(named, f"is {_kind(mode)}, not a file")
    if mode is None and not os.path.isdir(place.parent):
        above = _nearest(place)
        found = (
            f"the folder {place.parent} does not exist"
            if os.path.isdir(above)
            else f"{above} is a file"
        )
        raise _refusal(named, f"cannot be created: {found}")
    _check_permission(named, place.parent)
    return place


def is_empty(folder: Path) -> bool:
    """Return whether a folder contains no foreign files."""
    return not foreign_names(folder)


def foreign_names(folder: Path) -> tuple[str, ...]:
    """Return the names in a folder, sorted, that no file system, file manager or killed run made."""
    names = sorted(path.name for path in folder.iterdir())
    return tuple(
        name
        for name in names
        if name != _OF_DISKS and not name.startswith(OURS) and not is_junk(name)
    )


def fresh_inside(folder: Path, name: str) -> Path:
    """Return an unused path in a folder for incomplete output: on the same disk, with a valid
    name.
    """
    for leftover in folder.glob(f"{OURS}{name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return folder / f"{OURS}{name}.{os.getpid()}"


@contextlib.contextmanager
def placing(what: str, place: Path) -> Iterator[None]:
    """Turn the system's errors while `what` is written at `place` into CannotWrite."""
    try:
        with writing(what, place):
            yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = error.strerror or str(error)
        raise CannotWrite(f"{what} cannot be written into {place}: {reason}{where}") from error


def _look(named: Path) -> tuple[Path, int | None]:
    """Return the path behind all links, and its mode; None if nothing is there.

    Raises InputError.
    """
    place = Path(os.path.realpath(named))
    try:
        return place, os.stat(named).st_mode
    except FileNotFoundError:
        for path in (named.absolute(), *named.absolute().parents):
            if os.path.islink(path) and not os.path.exists(path):
                message = f"{path} is a symbolic link to {os.readlink(path)}, which does not exist"
                raise _refusal(named, message) from None
    except NotADirectoryError:
        raise _refusal(named, f"cannot be created: {_nearest(place)} is a file") from None
    except OSError as error:
        raise _refusal(named, _words(error)) from None
    most = os.pathconf(_nearest(place), "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > most for part in place.parts):
        raise _refusal(named, f"has a name of more than {most} bytes, the most that fits there")
    return place, None


def _nearest(place: Path) -> Path:
    """Return the nearest existing parent of a path."""
    return next(path for path in place.parents if os.path.lexists(path))


def _words(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "leads into a loop of symbolic links"
    if error.errno == errno.ENAMETOOLONG:
        return "has a name that is longer than the file system allows"
    return f"cannot be read: {error.strerror or error}"


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    return "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"


def _check_permission(named: Path, folder: Path) -> None:
    """Check permission before the work, which may take hours."""
    if not os.access(folder, os.W_OK | os.X_OK):
        with writing(str(named), folder):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _refusal(named: Path, message: str) -> InputError:
    return InputError.at(str(named), message, "name another place")
