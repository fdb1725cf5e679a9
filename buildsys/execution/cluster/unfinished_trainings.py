"""The work of a training on a worker that may be taken away: in the remote store, every few minutes.

It is kept there like a result, under a key of its own, so that it counts for those who trust the result's
makers and for nobody else. Another worker goes on from it. The newest alone is kept, until the training is
done; `buildsys remote gc` removes what is left of one that nobody finished.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from buildsys.digest import digest_file, digest_value
from buildsys.errors import BuildsysError
from buildsys.execution.running import unfinished
from buildsys.execution.store.action_entry import (
    ActionEntry,
    EntryOutput,
    action_name,
    blob_name,
    machine_of,
)
from buildsys.execution.store.remote import Remote
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.graph import Step
from buildsys.remote_settings import RemoteSettings

EVERY_SECONDS = 300.0
_WORK = "work"
_ARCHIVE = "work.tar"
_FAILURES = (RemoteFailure, Damaged, OSError, BuildsysError)
"""What ends a try: a training goes on without it."""


def take_up(remote: Remote, step: Step, key: str, scratch: Path) -> bool:
    """Put what another worker has left of a training into its working folder; whether there was any.

    `key`: the training's action key; `scratch`: its working folder, which may have work of its own.
    """
    if unfinished.has_work(scratch):
        return False
    archive = scratch / _ARCHIVE
    with contextlib.suppress(*_FAILURES):
        digest = _find(remote, step, key)
        if not digest:
            return False
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            remote.fetch(digest, archive)
            return unfinished.unpack(archive, scratch)
        finally:
            archive.unlink(missing_ok=True)
    return False


@contextlib.contextmanager
def kept(
    settings: RemoteSettings, step: Step, key: str, scratch: Path, every: float = EVERY_SECONDS
) -> Iterator[None]:
    """Within the block the work of a training goes into the remote store, `every` so many seconds; what is on
    its way at the end is given up.
    """
    ended, remote = threading.Event(), Remote(settings, lambda text: None)

    def keep() -> None:
        before = None
        while not ended.wait(every):
            before = keep_now(remote, step, key, scratch, before)

    thread = threading.Thread(target=keep, daemon=True, name="keep")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        remote.close(wait=False)
        thread.join()


def keep_now(
    remote: Remote, step: Step, key: str, scratch: Path, before: str | None = None
) -> str | None:
    """Put the work of a training into the remote store in the place of what was kept `before`; what fails is
    tried again the next time. Returns the digest of what is kept.

    `before`: a digest; None where it has to be asked for: another worker may have left some.
    """
    archive = scratch / _ARCHIVE
    with contextlib.suppress(*_FAILURES):
        before = _find(remote, step, key) if before is None else before
        try:
            if not unfinished.pack(scratch, archive):
                return before
            digest = digest_file(archive)
            if digest == before:
                return before
            remote.put_blob(digest, archive)
        finally:
            archive.unlink(missing_ok=True)
        remote.put_entry(
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
        if before:
            remote.remove(blob_name(before))
        return digest
    return before


def drop(remote: Remote, step: Step, key: str) -> None:
    """A training is done: nothing is kept of its work any more."""
    with contextlib.suppress(*_FAILURES):
        digest = _find(remote, step, key)
        if digest:
            remote.remove(action_name(_key_of(key), machine_of(step)), blob_name(digest))


def _find(remote: Remote, step: Step, key: str) -> str:
    """The digest of what is kept of a training; empty where nothing is. Raises RemoteFailure."""
    entry = remote.find_entry(_key_of(key), machine_of(step))
    if entry is None or [output.name for output in entry.outputs] != [_WORK]:
        return ""
    return entry.outputs[0].digest


def _key_of(key: str) -> str:
    """Where the work of a training is kept: the key of no action."""
    return digest_value(["unfinished", key])
