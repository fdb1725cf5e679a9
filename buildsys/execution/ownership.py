"""Decides whether .buildsys was made on this machine: its content is trusted, and it can be copied.

The folder holds a mark: a digest of its inode number, which differs in a copy, and of a secret in
the user's cache. Where the cache cannot hold a secret, the inode number alone is used. The content
of a folder without its mark is set aside unread.
"""

import contextlib
import errno
import os
import sys
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.errors import CannotWrite
from buildsys.files import free_name, read_regular, write_atomic, write_new
from buildsys.locks import locked
from buildsys.write_errors import writing

_MARK, _LOCK, _BEFORE = "made-here", "lock", "before"
_LEFT = (_LOCK, "lost+found")
"""Names that stay: the lock is held, and the other belongs to a mounted disk."""


def claim(root: Path, state: Path, secret: Path) -> None:
    """Make sure that `state`, a folder of `root`, was made here; otherwise start a new one.

    Raises CannotWrite where another run works in one that was not made here.
    """
    import fcntl

    known = _read_secret(secret)
    if _is_marked(state, known):
        return
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
        number = os.open(root, os.O_RDONLY)
        opened.callback(os.close, number)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(number, fcntl.LOCK_EX)
        if _is_marked(state, known):  # another run has marked it in the meantime
            return
        if state.is_dir() and any(state.iterdir()):
            _set_aside(state)
        with contextlib.suppress(OSError):  # where nothing can be written, nothing can be kept
            state.mkdir(exist_ok=True)
            write_atomic(state / _MARK, _mark(state, known))


def _set_aside(state: Path) -> None:
    """Move the folder's content into a subfolder; a mounted disk stays."""
    aside = free_name(state / _BEFORE)
    try:
        with writing(f"{state.name}, which was not made here,", state), locked(state / _LOCK):
            found = (name for name in os.listdir(state) if not name.startswith(_BEFORE))
            names = [name for name in found if name not in _LEFT]
            aside.mkdir()
            moved = [name for name in names if _move(state / name, aside / name)]
            if not moved:
                aside.rmdir()
    except BlockingIOError as error:
        raise CannotWrite(
            f"{state.name} was not made here by this user, and another run works in it."
            " Run again when that has ended."
        ) from error
    if moved:
        print(
            f"{state.name} was not made here: it came with a commit, as a copy or from another user. It"
            f" starts empty, and results are restored from the store; the old content is in"
            f" {state.name}/{aside.name}.",
            file=sys.stderr,
            flush=True,
        )


def _move(path: Path, target: Path) -> bool:
    """Move a file or folder; returns False for a mounted disk, which cannot come with a commit."""
    try:
        path.rename(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        return False
    return True


def _is_marked(state: Path, secret: bytes) -> bool:
    with contextlib.suppress(OSError):
        return read_regular(state / _MARK) == _mark(state, secret).encode()
    return False


def _mark(state: Path, secret: bytes) -> str:
    return digest_bytes(b"%s %d" % (secret, state.stat().st_ino))


def _read_secret(place: Path) -> bytes:
    """Read the user's secret, and create it if missing; empty where the cache cannot hold one."""
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            return read_regular(place)
        with contextlib.suppress(FileExistsError):
            write_new(place, os.urandom(32).hex(), mode=0o600)
        return read_regular(place)
    return b""
