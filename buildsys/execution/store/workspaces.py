"""Which workspaces use a store: `buildsys gc` keeps what they refer to.

One small file a workspace in the store, which holds its path; written when a session opens.
"""

import contextlib
import os
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.execution.store.store import Store
from buildsys.files import write_atomic

_FOLDER = "workspaces"


def register(store: Store, root: Path) -> None:
    """Let the store know a workspace; a read-only store knows nobody, and loses nothing either."""
    entry = _entry(store, root)
    with contextlib.suppress(OSError):
        if not entry.is_file():
            write_atomic(entry, os.fsencode(root))


def known(store: Store) -> tuple[Path, ...]:
    """Every workspace that has used the store, sorted; some may be gone.

    Raises OSError where an entry may not be read: it must not be taken for nobody.
    """
    roots = []
    for entry in sorted((store.root / _FOLDER).glob("[!.]*")):
        with contextlib.suppress(FileNotFoundError):
            roots.append(Path(os.fsdecode(entry.read_bytes())))
    return tuple(sorted(roots))


def forget(store: Store, root: Path) -> None:
    """A workspace that is gone."""
    _entry(store, root).unlink(missing_ok=True)


def _entry(store: Store, root: Path) -> Path:
    return store.root / _FOLDER / digest_bytes(os.fsencode(root))[:32]
