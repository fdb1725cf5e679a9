"""Saves an unfinished training to the remote store every few minutes, as its worker may disappear.

It is stored like a result, under a separate key, so that readers trust it as they trust the
result's makers. Another worker continues from it. Only the newest state is kept, until the training
is done; `buildsys remote gc` removes leftovers of abandoned trainings.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
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
"""Errors that end an attempt; the training continues without it."""


def take_up(remote: Remote, step: Step, key: str, scratch: Path) -> bool:
    """Put another worker's unfinished training into the working folder.

    Returns whether there was one. `key`: the training's action key; `scratch`: its working folder,
    which may have its own state.
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
    settings: RemoteSettings,
    step: Step,
    key: str,
    scratch: Path,
    print_line: Callable[[str], None],
    every: float = EVERY_SECONDS,
) -> Iterator[None]:
    """Within the block, save a training's files to the remote store, `every` so many seconds.

    `print_line` prints the first of several failures in a row. An upload that is unfinished at the
    end is abandoned.
    """
    ended, attempts = threading.Event(), _Attempts(settings)

    def keep() -> None:
        saved, failed = None, False
        while not ended.wait(every):
            try:
                saved, failed = keep_now(attempts.begin(), step, key, scratch, saved), False
            except _FAILURES as error:
                if not failed and not ended.is_set():
                    print_line(_describe_failure(step, error, every))
                saved, failed = None, True

    thread = threading.Thread(target=keep, daemon=True, name="keep")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        attempts.close()
        thread.join()


class _Attempts:
    """The remote store of each attempt: one that has failed would make no more requests."""

    def __init__(self, settings: RemoteSettings) -> None:
        self._remote = Remote(settings, lambda text: None)
        self._changing = threading.Lock()
        self._closed = False

    def begin(self) -> Remote:
        """Return the remote store for an attempt, connected. Raises RemoteFailure, BuildsysError."""
        with self._changing:
            if self._closed:
                raise RemoteFailure("the training has ended")
            fresh = Remote(self._remote.settings, lambda text: None)
            fresh.go_on_from(self._remote)
            self._remote = fresh
        if not fresh.is_connected:
            fresh.prove_writing()
        return fresh

    def close(self) -> None:
        """End the current attempt and begin no more."""
        with self._changing:
            self._closed = True
            self._remote.close(wait=False)


def _describe_failure(step: Step, error: Exception, every: float) -> str:
    return (
        f"{step.stage}: the state of the training cannot be saved in the remote store ({error}); the"
        f" next attempt is in {every / 60:.2g} minutes"
    )


def keep_now(
    remote: Remote, step: Step, key: str, scratch: Path, before: str | None = None
) -> str | None:
    """Save a training's files to the remote store, in place of `before`; returns the new digest.

    `before`: the digest saved last; None to query it, as another worker may have saved one. Raises
    one of `_FAILURES`.
    """
    archive = scratch / _ARCHIVE
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
        with contextlib.suppress(RemoteFailure):  # the new state is saved
            remote.remove(blob_name(before))
    return digest


def drop(remote: Remote, step: Step, key: str) -> None:
    """Remove what was saved of a training that is done."""
    with contextlib.suppress(*_FAILURES):
        digest = _find(remote, step, key)
        if digest:
            remote.remove(action_name(_key_of(key), machine_of(step)), blob_name(digest))


def _find(remote: Remote, step: Step, key: str) -> str:
    """Return the digest of a saved training; empty if there is none. Raises RemoteFailure."""
    entry = remote.find_entry(_key_of(key), machine_of(step))
    if entry is None or [output.name for output in entry.outputs] != [_WORK]:
        return ""
    return entry.outputs[0].digest


def _key_of(key: str) -> str:
    """Return the key under which a training is saved; no action has it."""
    return digest_value(["unfinished", key])
