"""Entries of a remote store that are kept on this machine, apart from those made here.

They are kept unchanged, with signer and signature, under their remote, and are checked whenever
they are read: an entry counts only where a workspace uses that remote and trusts the signer at that
time.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.store.action_entry import (
    LARGEST_ENTRY,
    ActionEntry,
    action_name,
    parse_action_name,
    this_machine,
)
from buildsys.execution.store.remote_entry import (
    check_signatures,
    read_remote_entry,
    read_unchecked,
)
from buildsys.execution.store.store import REMOTES, Store
from buildsys.files import open_regular
from buildsys.remote_settings import RemoteSettings, remote_id


@dataclass(frozen=True, kw_only=True)
class RemoteResult:
    """An entry of a remote store, and its bytes."""

    entry: ActionEntry
    data: bytes


class RemoteResults:
    """The entries of one remote store that are kept in the local store."""

    def __init__(self, store: Store, settings: RemoteSettings) -> None:
        self._store, self._trusted = store, settings.trusted
        self._folder = store.root / REMOTES / remote_id(settings)

    def keep(self, result: RemoteResult) -> None:
        """Keep a valid entry. Raises CannotWrite, OSError."""
        name = action_name(result.entry.key, result.entry.machine)
        self._store.put_record(self._folder / name, result.data)

    def find(self, key: str) -> RemoteResult | None:
        """Return the kept entry of an action for this architecture; None without a valid one."""
        for machine in (this_machine(), ""):
            path = self._folder / action_name(key, machine)
            with contextlib.suppress(OSError, ValueError, BuildsysError):
                with open_regular(path) as stored:
                    data = stored.read(LARGEST_ENTRY)
                if self._trusted:
                    check_signatures()
                entry = read_remote_entry(data, key, machine, self._trusted)
                return RemoteResult(entry=entry, data=data)
        return None


def kept_entries(store: Store) -> Iterator[tuple[Path, ActionEntry | None]]:
    """Yield the files of all remotes' entries in a store, each with its entry, whoever signed it.

    None stands for an entry that is damaged or has another's name.
    """
    for path in sorted((store.root / REMOTES).glob("*/actions/*/*.json")):
        name = parse_action_name("/".join(path.parts[-3:]))
        if name is None or any(folder.is_symlink() for folder in path.parents[:4]):
            continue
        try:
            with open_regular(path) as stored:
                entry = read_unchecked(stored.read(LARGEST_ENTRY), *name)
        except (FileNotFoundError, ValueError, CannotWrite):
            yield path, None
        else:
            yield path, entry
