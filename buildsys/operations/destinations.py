"""A place that a person named to write to: checked before any work, with a sentence where it fails.

Links are followed, and stay what they are; a device is never replaced by a file.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from buildsys.errors import CannotWrite, InputError
from buildsys.write_errors import writing

OURS = ".buildsys-"
"""What a temporary name begins with: what a killed run left there is taken away by the next."""
_OF_DISKS = "lost+found"
"""What a file system has in an empty disk's first folder."""


def find_folder(named: Path) -> Path:
    """Where a folder is or will be, links followed. Makes nothing.

    Raises InputError for what can be no folder, CannotWrite where this user may not write.
    """
    place, mode = _look(named)
    if mode is not None and not stat.S_ISDIR(mode):
        raise _refusal(named, f"is {_kind(mode)}, not a directory")
    above = place if mode is not None else _nearest(place)
    if not os.path.isdir(above):
        raise _refusal(named, f"cannot be made: {above} is a file")
    _check_permission(named, above)
    return place


def find_file(named: Path) -> Path:
    """Where a file is or will be, links followed; its folder is there. Makes nothing.

    Raises InputError for what can be no file, CannotWrite where this user may not write.
    """
    place, mode = _look(named)
    if mode is not None and not stat.S_ISREG(mode):
        raise _refusal(named, f"is {_kind(mode)}, not a file")
    if mode is None and not os.path.isdir(place.parent):
        above = _nearest(place)
        found = (
            f"there is no folder {place.parent}" if os.path.isdir(above) else f"{above} is a file"
        )
        raise _refusal(named, f"cannot be made: {found}")
    _check_permission(named, place.parent)
    return place


def is_empty(folder: Path) -> bool:
    """Whether a folder has no foreign files."""
    names = [path.name for path in folder.iterdir()]
    return all(name == _OF_DISKS or name.startswith(OURS) for name in names)


def fresh_inside(folder: Path, name: str) -> Path:
    """A place in it for what is not whole yet: of the same disk, and a name that fits; not made."""
    for leftover in folder.glob(f"{OURS}{name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return folder / f"{OURS}{name}.{os.getpid()}"


@contextlib.contextmanager
def placing(what: str, place: Path) -> Iterator[None]:
    """An error of the system while `what` is written at `place` becomes CannotWrite."""
    try:
        with writing(what, place):
            yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        reason = error.strerror or str(error)
        raise CannotWrite(f"{what} cannot be written into {place}: {reason}{where}") from error


def _look(named: Path) -> tuple[Path, int | None]:
    """The place behind all links, and its mode, None where nothing is. Raises InputError."""
    place = Path(os.path.realpath(named))
    try:
        return place, os.stat(named).st_mode
    except FileNotFoundError:
        for path in (named.absolute(), *named.absolute().parents):
            if os.path.islink(path) and not os.path.exists(path):
                message = f"{path} is a symbolic link to {os.readlink(path)}, which does not exist"
                raise _refusal(named, message) from None
    except NotADirectoryError:
        raise _refusal(named, f"cannot be made: {_nearest(place)} is a file") from None
    except OSError as error:
        raise _refusal(named, _words(error)) from None
    most = os.pathconf(_nearest(place), "PC_NAME_MAX")
    if any(len(os.fsencode(part)) > most for part in place.parts):
        raise _refusal(named, f"has a name of more than {most} bytes, the most that fits there")
    return place, None


def _nearest(place: Path) -> Path:
    """What of a path exists."""
    return next(path for path in place.parents if os.path.lexists(path))


def _words(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "leads in a circle of symbolic links"
    if error.errno == errno.ENAMETOOLONG:
        return "has a name that is longer than the file system allows"
    return f"cannot be read: {error.strerror or error}"


def _kind(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    return "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"


def _check_permission(named: Path, folder: Path) -> None:
    """Asked for now: hours of work may come before the first byte."""
    if not os.access(folder, os.W_OK | os.X_OK):
        with writing(str(named), folder):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _refusal(named: Path, message: str) -> InputError:
    return InputError.at(str(named), message, "name another place")
