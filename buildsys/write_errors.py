"""Explains why a folder cannot be written: the system's error, and what to do."""

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from buildsys.errors import CannotWrite

_ALMOST_NOTHING = 256 * 1024
"""A disk with less than this free counts as full when a write to it failed without a clear reason.
"""

_FULL_IN_LOGS = ("No space left on device", "Disk quota exceeded", "disk is full")


@contextlib.contextmanager
def writing(what: str, folder: Path, needed: int = 0) -> Iterator[None]:
    """Turn errors of writing `what` (`needed` bytes, if known) below `folder` into CannotWrite.

    Errors that are not about the disk pass through unchanged.
    """
    try:
        yield
    except Exception as error:  # sqlite3's are checked below: not every process imports it
        reason = _reason(error, folder, needed)
        if reason is None:
            raise
        raise CannotWrite(f"{what} cannot be written: {reason}") from error


FOLDER_GONE = "the current folder was removed: change to an existing folder"


def is_folder_gone(error: BaseException) -> bool:
    """Return whether an error is about the current folder, which was removed."""
    if not isinstance(error, FileNotFoundError):
        return False
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def too_many_files() -> str:
    """Return what to do about EMFILE."""
    return (
        "too many files are open (see `ulimit -n`). Raise that limit, or run fewer steps at a time"
        " (`-n`), then run again."
    )


def explain_log(text: str, folder: Path) -> str:
    """Return a hint for a tool that failed because the disk of `folder` is full.

    Returns an empty text otherwise.
    """
    named = any(words in text for words in _FULL_IN_LOGS)
    return _full(folder, 0) if named or _free(folder) < _ALMOST_NOTHING else ""


def _reason(error: Exception, folder: Path, needed: int) -> str | None:
    """Return why `folder` cannot be written and what to do.

    Returns None if the error is about something else.
    """
    if not isinstance(error, OSError):
        database = sys.modules.get("sqlite3")
        known = database is not None and isinstance(error, database.Error)
        return _database_reason(error, folder) if known else None
    if error.errno == errno.ENOSPC:
        return _full(folder, needed)
    if error.errno == errno.EDQUOT:
        return f"the quota of {folder} is used up. Make room there, then run again."
    if error.errno == errno.EFBIG:
        return f"a limit on the size of files in {folder} (`ulimit -f`) is too small."
    if error.errno == errno.EIO:
        return f"the disk of {folder} reports an input/output error. Look at the disk."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return _forbidden(folder)
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return too_many_files()
    if error.errno == errno.EISDIR and (error.filename2 or error.filename):
        place = os.fsdecode(error.filename2 or error.filename)
        return f"{place} is a directory. Move it away, then run again."
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENOENT):
        found = obstacle(folder) or _obstacle_named(error)
        way = way_out(folder)
        if found:
            return f"{found}.{way or ' Move it away, then run again.'}"
        refused = error.errno == errno.ENOENT and not folder.exists() and error.filename
        if refused and folder.is_relative_to(os.fsdecode(refused)):
            return f"{os.fsdecode(refused)} cannot be made.{way}"
        return None
    if error.errno == errno.ENAMETOOLONG:
        return f"the path {folder} is too long.{way_out(folder)}"
    return None


def _database_reason(error: Any, folder: Path) -> str | None:
    import sqlite3

    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return "another process has held it for half a minute. Run again when that has ended."
    if code == sqlite3.SQLITE_FULL or _free(folder) < _ALMOST_NOTHING:
        return _full(folder, 0)
    if code == sqlite3.SQLITE_CANTOPEN and _are_files_exhausted():
        return too_many_files()
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _forbidden(folder)
    if code == sqlite3.SQLITE_IOERR:
        return f"the disk of {folder} reports an input/output error. Look at the disk."
    return None


def _are_files_exhausted() -> bool:
    """Return whether this process can open no more files, which sqlite3 does not report."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _full(folder: Path, needed: int) -> str:
    if _is_out_of_inodes(folder, needed):
        return (
            f"the file system of {folder} holds as many files as it can: it has room for"
            f" {_size(_free(folder))}, but not for more files (`df -i`). Remove files there, then run"
            " again."
        )
    wanted = f", {_size(needed)} needed" if needed else ""
    return (
        f"the disk of {folder} is full ({_size(_free(folder))} free{wanted})."
        " Make room there, then run again."
    )


def _forbidden(folder: Path) -> str:
    if os.statvfs(_existing(folder)).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system.{way_out(folder)}"
    user = os.geteuid()
    return (
        f"{folder} cannot be written by this user ({user}). Check its permissions.{way_out(folder)}"
    )


def obstacle(folder: Path) -> str:
    """Return what is in the place of `folder` or a parent of it; empty if nothing is."""
    for place in (folder, *folder.parents):
        try:
            mode = place.lstat().st_mode
        except OSError:
            continue
        if place.is_dir():
            return ""
        if stat.S_ISLNK(mode):
            return f"{place} is a link to {os.readlink(place)}, which is not a directory"
        return f"{place} is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a directory"
    return ""


def _obstacle_named(error: OSError) -> str:
    """Return what is in the way of the path in an error, which may be anywhere."""
    named = error.filename2 or error.filename
    if error.errno not in (errno.ENOTDIR, errno.EEXIST) or not isinstance(named, str | bytes):
        return ""
    return obstacle(Path(os.fsdecode(named)))


_KINDS = {stat.S_IFREG: "a file", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def way_out(folder: Path) -> str:
    """Return what to do about an unusable folder: the variable that it comes from, if any."""
    for name, meaning in (
        ("BUILDSYS_STORE", "the store"),
        ("XDG_CACHE_HOME", "the cache"),
    ):
        place = os.environ.get(name)
        if place and folder.is_relative_to(place):
            return f" {name} sets where {meaning} is: set it to a folder that can be used."
    home = os.environ.get("HOME")
    if home and folder.is_relative_to(os.path.join(home, ".cache")):
        return (
            f" HOME is {home}: set XDG_CACHE_HOME (or BUILDSYS_STORE, for the store) to a folder"
            " that can be used."
        )
    return ""


_FEW_INODES = 64
"""Free inodes: fewer count as none, since temporary files have been removed since the error."""


def _is_out_of_inodes(folder: Path, needed: int) -> bool:
    """Return whether a file system reported as full has room for bytes but not for another file."""
    try:
        found = os.statvfs(_existing(folder))
    except OSError:
        return False
    few = found.f_files > 0 and found.f_favail < _FEW_INODES
    return few and _free(folder) > needed + _ALMOST_NOTHING


def _free(folder: Path) -> int:
    try:
        return shutil.disk_usage(_existing(folder)).free
    except OSError:
        return 0


def _existing(folder: Path) -> Path:
    """Return the folder itself, or its nearest existing parent."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def _size(count: int) -> str:
    """Return 12 KiB, 3.4 MiB, 1.2 GiB."""
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 2**20:.1f} MiB" if count < 1 << 30 else f"{count / 2**30:.1f} GiB"
