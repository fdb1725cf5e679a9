"""Lock files, each held by one process at a time."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from buildsys.errors import CannotWrite


@contextlib.contextmanager
def locked(
    path: Path, owner: str = "", busy: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path`, for one process at a time. Raises OSError if it cannot be created.

    `owner` is written into it. When another process holds it, `busy` is called with that process's
    `owner`, and this one waits; without `busy`, BlockingIOError is raised. On a file system without
    locks every lock is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _acquire(path, owner, busy)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.close()


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file.

    False where the file does not exist, and on a file system without locks.
    """
    import fcntl

    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(number)
    return False


def _acquire(path: Path, owner: str, busy: Callable[[str], None] | None) -> IO[bytes]:
    """Return the open file that holds the lock until it is closed.

    A holder removes the file before it releases the lock; a process that waited for a removed file
    opens the new one.
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
                with contextlib.suppress(
                    OSError
                ):  # on a full disk, a waiting process does not learn the owner
                    os.ftruncate(lock.fileno(), 0)
                    os.write(lock.fileno(), owner.encode())
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()


def _open_lock(path: Path) -> IO[bytes]:
    """Open the lock's file, creating it if missing.

    Raises CannotWrite for a link, whose target would be emptied.
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
        f"{path} is not a regular file, so it cannot be a lock: buildsys does not write through links."
        " Remove it, then run again."
    )


def _is_still(path: Path, lock: IO[bytes]) -> bool:
    """Return whether the open file is the one that `path` names now."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
