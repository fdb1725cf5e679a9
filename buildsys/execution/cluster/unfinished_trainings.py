"""The work of a training on a worker that may be taken away: in the remote store, every few minutes.

It is kept there like a result, under a key of its own, so that it counts for those who trust the result's
makers and for nobody else, and `buildsys remote gc` removes it. Another worker goes on from it.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from buildsys.digest import digest_value
from buildsys.errors import CannotWrite
from buildsys.execution.running import unfinished
from buildsys.execution.store.action_entry import ActionEntry, EntryOutput, machine_of
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.graph import Step

EVERY_SECONDS = 300.0
_WORK = "work"
_ARCHIVE = "work.tar"


def take_up(store: SharedStore, step: Step, key: str, scratch: Path) -> bool:
    """Put what another worker has left of a training into its working folder; whether there was any.

    `key`: the training's action key; `scratch`: its working folder, which may have work of its own.
    """
    archive = scratch / _ARCHIVE
    with contextlib.suppress(RemoteFailure, OSError, CannotWrite):
        entry = store.remote.find_entry(_key_of(key), machine_of(step))
        if entry is None or [output.name for output in entry.outputs] != [_WORK]:
            return False
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            store.fetch(entry.outputs[0].digest, archive, tree=False)
            return unfinished.unpack(archive, scratch)
        finally:
            archive.unlink(missing_ok=True)
    return False


@contextlib.contextmanager
def kept(
    store: SharedStore, step: Step, key: str, scratch: Path, every: float = EVERY_SECONDS
) -> Iterator[None]:
    """Within the block the work of a training goes into the remote store, `every` so many seconds."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(every):
            keep_now(store, step, key, scratch)

    thread = threading.Thread(target=keep, daemon=True, name="keep")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def keep_now(store: SharedStore, step: Step, key: str, scratch: Path) -> None:
    """Put the work of a training into the remote store; what fails is tried again the next time."""
    archive = scratch / _ARCHIVE
    with contextlib.suppress(RemoteFailure, OSError, CannotWrite):
        try:
            if not unfinished.pack(scratch, archive):
                return
            digest = store.put_file(archive)
        finally:
            archive.unlink(missing_ok=True)
        store.push(
            ActionEntry(
                key=_key_of(key),
                module=step.module,
                tool=step.tool,
                seconds=0.0,
                outputs=(EntryOutput(name=_WORK, digest=digest, tree=False),),
                passed=True,
                machine=machine_of(step),
            )
        )


def _key_of(key: str) -> str:
    """Where the work of a training is kept: the key of no action."""
    return digest_value(["unfinished", key])
