"""Files: written whole or not at all, locked, compared by stat; write errors in plain words."""

import contextlib
import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from buildsys.errors import CannotWrite, shorten

_ALMOST_NOTHING = 256 * 1024
"""A disk with less than this free counts as full when a write to it failed for no named reason."""

_FULL_IN_LOGS = ("No space left on device", "Disk quota exceeded", "disk is full")


_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EROFS)
"""What fsync answers where a file system has no such thing, for folders above all."""


def make_durable(paths: Iterable[Path]) -> None:
    """Returns when the content of these files, and the names in these folders, survive a power cut.

    Links, and what is not there or may not be read, are left out. Raises OSError: a disk that fails.
    Many on one disk are synced with everything on it, at once.
    """
    wanted = list(paths)
    if len(wanted) > _MANY and _sync_disk(wanted):
        return
    for path in wanted:
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            os.fsync(number)
        except OSError as error:
            if error.errno not in _CANNOT_SYNC:
                raise
        finally:
            os.close(number)


_MANY = 32
"""From here on one syncfs costs less than a fsync for each: on a disk for consumers, one of those
costs a millisecond or more, even where nothing is left to write.
"""


def _sync_disk(paths: list[Path]) -> bool:
    """Sync everything on the disk that all of these are on; False where that cannot be done."""
    if sys.platform != "linux":
        return False
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        return False
    devices = set()
    for path in paths:
        with contextlib.suppress(OSError):
            devices.add(path.lstat().st_dev)
    if len(devices) != 1:
        return False
    number = os.open(paths[-1].parent, os.O_RDONLY)
    try:
        failed = library.syncfs(number)
        if failed and ctypes.get_errno() not in _CANNOT_SYNC:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(paths[-1]))
        return not failed
    finally:
        os.close(number)


def make_tree_durable(folder: Path) -> None:
    """`make_durable` of everything below a folder, and of the folder; links are not followed."""
    make_durable(
        [
            path
            for place, _, names in os.walk(folder, topdown=False)
            for path in (*(Path(place, name) for name in names), Path(place))
        ]
    )


def open_regular(path: Path | str, follow: bool = False) -> IO[bytes]:
    """A file, open for reading. Raises OSError: EINVAL for a pipe or a device, ELOOP for a link unless
    it is to `follow`.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return open(number, "rb")
    except BaseException:
        os.close(number)
        raise


def start_writing(path: Path) -> None:
    """Let the system begin to write a file to its disk; `make_durable` later waits the less."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def temporary_file(folder: Path, mode: int = 0o666) -> Iterator[Path]:
    """A new empty file in `folder`; if it is still there at the end, it is removed.

    `mode`: its permissions, less the umask. Unlike a file of `tempfile` it has the usual ones: others
    may share the folder.
    """
    path = folder / f".tmp-{os.urandom(8).hex()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary file beside `path` that replaces it, with its mode, when the block ends well.

    It survives a power cut then, old or new and never empty; what is made again anyway need not be
    `durable`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path.parent) as temporary:
        yield temporary
        with contextlib.suppress(OSError):  # a new file, or one of another owner
            temporary.chmod(path.stat().st_mode & 0o7777)
        if durable:
            make_durable([temporary])
        temporary.replace(path)
        if durable:
            make_durable([path.parent])


def read_regular(path: Path | str) -> bytes:
    """The content of a file. Raises OSError, also for what is no regular file: a FIFO makes one wait."""
    with open_regular(path, follow=True) as stream:
        return stream.read()


def write_atomic(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file (text as UTF-8): readers find the old content or the new. Raises OSError.

    `durable`: as `replacing` has it.
    """
    with replacing(path, durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: str, mode: int = 0o666) -> None:
    """Write a file that is not there yet, whole or not at all; its folder is made where it is missing.

    `mode`: its permissions, less the umask. Raises FileExistsError where something has the name, a
    link to nowhere included; OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path.parent, mode) as temporary:
        temporary.write_text(content, encoding="utf-8")
        make_durable([temporary])
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists() or path.is_symlink():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.rename(path)


def refuse_links(root: Path, path: Path) -> None:
    """Raise CannotWrite where `path`, or a folder between it and `root`, is a symbolic link.

    For what may be written, replaced or removed below a folder that others commit to: a link leads
    anywhere, and nothing tells one that a person made from one that came with a commit.
    """
    place = os.fspath(root)
    for part in path.relative_to(root).parts:
        place = os.path.join(place, part)
        if os.path.islink(place):
            shown, leads = shorten(os.path.relpath(place, root)), shorten(os.readlink(place))
            raise CannotWrite(
                f"{shown} is a symbolic link to {leads}: nothing is written or removed through a"
                " link, because it may have come with a commit. Remove the link; for more room mount"
                " a disk in its place, or move the store, which is what grows (BUILDSYS_STORE)."
            )


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there: first its name, then its content. What else has the name goes."""
    if os.path.lexists(folder):
        old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
        folder.rename(old)
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
        else:  # rmtree would wait for somebody to write into a pipe
            old.unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """`path`, or with the first number after it that nothing has: what is kept aside replaces nothing."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def replace_folder(fresh: Path, target: Path) -> None:
    """Move `fresh`, a folder on the same disk, to `target`; what was there is removed."""
    remove_folder(target)
    fresh.rename(target)


@contextlib.contextmanager
def locked(
    path: Path, owner: str = "", busy: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path`, for one process at a time. Raises OSError when it cannot be made.

    `owner` is written into it. When another process holds it, `busy` is called with that process's
    `owner`, and this one waits; without `busy`, BlockingIOError is raised. On a file system
    without locks every lock is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(path, owner, busy)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.close()


def _acquire(path: Path, owner: str, busy: Callable[[str], None] | None) -> IO[bytes]:
    """The open file that holds the lock until it is closed.

    A holder removes the file before it lets go; who waited for a removed file opens the new one.
    """
    import fcntl

    while True:
        lock = _open_lock(path)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if busy is None:
                    raise
                lock.seek(0)
                busy(lock.read().decode(errors="replace").strip())
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                return lock
            if _is_still(path, lock):
                with contextlib.suppress(OSError):  # a full disk: who waits learns no owner
                    os.ftruncate(lock.fileno(), 0)
                    os.write(lock.fileno(), owner.encode())
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _open_lock(path: Path) -> IO[bytes]:
    """Its file, made where it is missing. Raises CannotWrite for a link: what it leads to would be
    emptied.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        number = os.open(path, flags, 0o666)
        found = os.fstat(number)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
            return open(number, "a+b")
        os.close(number)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
    raise CannotWrite(
        f"{path} is a link, or no file, where a lock is wanted: nothing is written through links."
        " Remove it, then run again."
    )


def _is_still(path: Path, lock: IO[bytes]) -> bool:
    """Whether the open file is the one that `path` names now."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def writing(what: str, folder: Path, needed: int = 0) -> Iterator[None]:
    """Errors of writing `what` (`needed` bytes, where known) below `folder` become CannotWrite.

    Errors that say nothing about the disk pass through as they are.
    """
    try:
        yield
    except Exception as error:  # sqlite3's are asked for below: who writes no database loads none
        reason = _reason(error, folder, needed)
        if reason is None:
            raise
        raise CannotWrite(f"{what} cannot be written: {reason}") from error


FOLDER_GONE = "the folder in which this was started is gone: go to one that is there"


def is_folder_gone(error: BaseException) -> bool:
    """Whether an error is one about the current folder, which somebody removed."""
    if not isinstance(error, FileNotFoundError):
        return False
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def too_many_files() -> str:
    """What to do about EMFILE."""
    return (
        "too many files are open (see `ulimit -n`). Raise that limit, or run fewer steps at a time"
        " (`-n`), then run again."
    )


def explain_log(text: str, folder: Path) -> str:
    """A hint for a tool that failed because the disk of `folder` is full; else nothing."""
    named = any(words in text for words in _FULL_IN_LOGS)
    return _full(folder, 0) if named or _free(folder) < _ALMOST_NOTHING else ""


def _reason(error: Exception, folder: Path, needed: int) -> str | None:
    """Why `folder` refuses, and what to do; None when the error is about something else."""
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
        found = obstacle(folder)
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
    """Whether this process may open no other file: sqlite3 does not say so."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


def _full(folder: Path, needed: int) -> str:
    if _lacks_inodes(folder, needed):
        return (
            f"the file system of {folder} holds as many files as it can: it has room for"
            f" {_size(_free(folder))}, and none for more files (`df -i`). Remove files there, then run"
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
        f"{folder} may not be written by this user ({user}). See its permissions.{way_out(folder)}"
    )


def obstacle(folder: Path) -> str:
    """What stands where `folder` or a parent of it would be made; empty where nothing does."""
    for place in (folder, *folder.parents):
        try:
            mode = place.lstat().st_mode
        except OSError:
            continue
        if place.is_dir():
            return ""
        if stat.S_ISLNK(mode):
            return f"{place} is a link to {os.readlink(place)}, which is no directory"
        return f"{place} is {_KINDS.get(stat.S_IFMT(mode), 'a device')}, not a directory"
    return ""


_KINDS = {stat.S_IFREG: "a file", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def way_out(folder: Path) -> str:
    """What to do about a folder that cannot be used: the variable that it comes from, if any."""
    for name, meaning in (
        ("BUILDSYS_STORE", "the store"),
        ("XDG_CACHE_HOME", "the cache"),
    ):
        place = os.environ.get(name)
        if place and folder.is_relative_to(place):
            return f" {name} says where {meaning} is: set it to a folder that can be used."
    home = os.environ.get("HOME")
    if home and folder.is_relative_to(os.path.join(home, ".cache")):
        return (
            f" HOME is {home}: set XDG_CACHE_HOME (or BUILDSYS_STORE, for the store) to a folder"
            " that can be used."
        )
    return ""


_FEW_INODES = 64
"""What was given back since the error: temporary files are gone when it is looked at."""


def _lacks_inodes(folder: Path, needed: int) -> bool:
    """Whether a file system that is called full has room for bytes, and none for another file."""
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
    """The folder itself, or what of its path exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def _size(count: int) -> str:
    """12 KiB, 3.4 MiB, 1.2 GiB."""
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    return f"{count / 2**20:.1f} MiB" if count < 1 << 30 else f"{count / 2**30:.1f} GiB"


def stat_text(path: str) -> str:
    """Changes whenever the file's content may have; for a folder, when it comes or goes."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "absent"
    if stat.S_ISDIR(found.st_mode):
        return f"folder {found.st_ino}"
    return stat_line(found)


def stat_line(found: os.stat_result) -> str:
    """`stat_text` of a stat that is at hand."""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_ctime_ns}"
