"""Records which workspaces use a store, for `buildsys gc`.

Each workspace has a small file in the store, which contains its path; it is written when a session
opens.
"""

import contextlib
import errno
import os
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.errors import CannotWrite
from buildsys.execution.store.store import Store
from buildsys.files import open_regular, write_atomic

_FOLDER = "workspaces"


def register(store: Store, root: Path) -> None:
    """Record a workspace in the store; a read-only store records none, and loses nothing either."""
    entry = _entry(store, root)
    with contextlib.suppress(OSError, CannotWrite):
        if entry.is_symlink() or not entry.is_file() or entry.read_bytes() != os.fsencode(root):
            store.folder(_FOLDER)
            write_atomic(entry, os.fsencode(root))


def known(store: Store) -> tuple[Path, ...]:
    """Return every workspace that has used the store, sorted; some may no longer exist.

    Raises OSError for an entry that may not be read or is damaged, because the list would be
    incomplete.
    """
    roots = []
    for entry in sorted((store.root / _FOLDER).glob("[!.]*")):
        with contextlib.suppress(FileNotFoundError), open_regular(entry) as file:
            roots.append(_read(file.read(), entry))
    return tuple(sorted(roots))


def forget(store: Store, root: Path) -> None:
    """Remove the record of a workspace that no longer exists."""
    _entry(store, root).unlink(missing_ok=True)


def _read(data: bytes, entry: Path) -> Path:
    if entry.name != _name(data):
        message = (
            "is damaged, so its workspace is unknown. Delete it, and run `buildsys"
            " plan` in every workspace that uses this store"
        )
        raise OSError(errno.EINVAL, message, str(entry))
    return Path(os.fsdecode(data))


def _entry(store: Store, root: Path) -> Path:
    return store.root / _FOLDER / _name(os.fsencode(root))


def _name(root: bytes) -> str:
    return digest_bytes(root)[:32]
