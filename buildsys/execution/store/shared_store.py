"""A local store with a remote store behind it.

A result in the remote counts as present; its bytes are fetched when something reads them. Results
of this machine are uploaded while other steps run, blobs first, where the environment allows it.
"""

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.store.action_entry import (
    ActionEntry,
    is_of_worker,
    write_entry,
)
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.remote_results import RemoteResult, RemoteResults
from buildsys.execution.store.store import UNPUSHED, Store, seal
from buildsys.execution.store.tree_index import Tree
from buildsys.execution.unexpected import UNEXPECTED, explain
from buildsys.records import is_digest
from buildsys.remote_settings import (
    ONLY_READ,
    READ_ONLY_SCHEMES,
    RemoteSettings,
    remote_id,
    trust_id,
    variables_of,
)
from buildsys.text import count_text

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from buildsys.execution.store.remote import Remote


class RemoteBlobs:
    """What a run knows about the blobs of a remote store; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: set[str] = set()
        self._absent: set[str] = set()
        self._damaged: set[str] = set()

    def is_there(self, digest: str) -> bool:
        """Return whether the remote has it, according to a valid entry or to its own answer."""
        with self._lock:
            return digest in self._there and digest not in self._damaged

    def is_absent(self, digest: str) -> bool:
        """Return whether the remote lacks it or has it damaged; queried once in a run."""
        with self._lock:
            return digest in self._absent

    def is_damaged(self, digest: str) -> bool:
        """Return whether the remote's copy must not be used; it is uploaded again."""
        with self._lock:
            return digest in self._damaged

    def note_there(self, digests: Iterable[str]) -> None:
        """Record that the remote has these blobs, undamaged as far as is known."""
        found = set(digests)
        with self._lock:
            # the files of a tree were uploaded before its index
            if not found.isdisjoint(self._absent):
                self._absent.clear()
            self._there |= found
            self._damaged -= found

    def note_put(self, digest: str) -> None:
        """Record that it was uploaded."""
        with self._lock:
            self._there.add(digest)
            self._absent.discard(digest)
            self._damaged.discard(digest)

    def note_named(self, digests: Iterable[str]) -> None:
        """Record that an entry names these blobs; a finding about a blob itself takes
        precedence.
        """
        found = set(digests)
        with self._lock:
            self._there |= found - self._absent

    def note_absent(self, digest: str) -> None:
        """Record that the remote lacks it."""
        with self._lock:
            self._absent.add(digest)
            self._there.discard(digest)

    def note_damaged(self, digests: Iterable[str]) -> None:
        """Record that the remote's copies of these must not be used."""
        with self._lock:
            self._damaged.update(digests)


class SharedStore(Store):
    """Reads through to a remote store; the methods are documented in `Store`."""

    is_shared = True

    def __init__(self, root: Path, settings: RemoteSettings) -> None:
        super().__init__(root)
        self.settings = settings
        self.trust = trust_id(settings)
        self.trusts_workers = not settings.trusted
        self._remote: Remote | None = None
        self._connecting = threading.Lock()
        self._blobs = RemoteBlobs()
        self._kept = RemoteResults(self, settings)
        self._lock = threading.Lock()
        """Protects the fields below, which threads share."""
        self._asked: set[tuple[str, str]] = set()
        self._found: dict[str, RemoteResult] = {}
        """Answers of the remote in this run, by key; a result that is made nevertheless was damaged
        there.
        """
        self._publisher: ThreadPoolExecutor | None = None
        self._queued: set[str] = set()
        """Keys of the results that this run has offered to the remote."""

    @property
    def remote(self) -> "Remote":
        """Return the remote store; a run that does not use it imports nothing for it."""
        from buildsys.execution.store.remote import Remote

        with self._connecting:
            if self._remote is None:
                self._remote = Remote(self.settings, self._print_line)
            return self._remote

    @property
    def unread(self) -> str:  # type: ignore[override]
        """See `Store`."""
        is_unread = self._remote is not None and self._remote.is_unread
        return self.settings.url if is_unread else ""

    def look_up(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Query what actions, (key, architecture) each, made; all at once, and each once in a
        run.
        """
        with self._lock:
            new = [item for item in dict.fromkeys(wanted) if item not in self._asked]
        new = [item for item in new if not self._is_whole_here(item[0])]
        with self._lock:
            new = [item for item in new if item not in self._asked]
            self._asked.update(new)
        if not new or not self.remote.reads:
            return
        machines = dict(new)

        def find(key: str) -> RemoteResult | None:
            with contextlib.suppress(RemoteFailure):
                return self.remote.find_result(key, machines[key])
            return None

        for result in filter(None, self.remote.each(find, machines)):
            with self._lock:
                self._found[result.entry.key] = result
            self._blobs.note_named(output.digest for output in result.entry.outputs)
            with contextlib.suppress(OSError, CannotWrite):  # a read-only store
                self._kept.keep(result)

    def recall(self, key: str) -> ActionEntry | None:
        """Return an action's entry: this machine's, if its bytes can be had, or else the remote's.

        The remote's is its last answer, of this run or an earlier one.
        """
        own, other = super().recall(key), self.find_foreign(key)
        if other is None or own is None or own.outputs == other.entry.outputs or own.digests_only:
            return own or (other.entry if other else None)
        return own if self._has_all(own) else other.entry

    def find_foreign(self, key: str) -> RemoteResult | None:
        """Return the remote's last answer about an action, if it is valid."""
        with self._lock:
            found = self._found.get(key)
        return found or self._kept.find(key)

    def _counts(self, own: ActionEntry) -> bool:
        """Like `Store`; also accepts a worker's result with the signature of a trusted key."""
        if super()._counts(own):
            return True
        signed = self.find_foreign(own.key)
        return signed is not None and (signed.entry.outputs, signed.entry.passed) == (
            own.outputs,
            own.passed,
        )

    def _has_all(self, entry: ActionEntry) -> bool:
        return all(self.has(output.digest, output.tree) for output in entry.outputs)

    def has(self, digest: str, tree: bool) -> bool:
        """Return whether an artifact's files are all here, or in the remote as far as is known."""
        if self._is_here(digest, tree):
            return True
        if not is_digest(digest):
            return False
        if not tree or self.size(digest) is None:
            return self._may_come(digest)
        try:  # the missing blob is a file of the tree: files are uploaded before their index
            missing = self._missing(self.index(digest))
        except (OSError, CannotWrite):
            return False
        if not missing:
            return True
        return self._may_come(digest) and not any(map(self._is_lost, missing))

    def _missing(self, files: Tree) -> list[str]:
        """Return the files of a tree that are not here in their sizes; damaged ones are replaced or
        removed.
        """
        for file in files:
            if self.size(file.digest) not in (None, file.size):
                with contextlib.suppress(FileNotFoundError), self.opened(file.digest):
                    pass
        return [file.digest for file in files if self.size(file.digest) != file.size]

    def _is_lost(self, digest: str) -> bool:
        """Return whether a missing file of a tree cannot be fetched."""
        return self.size(digest) is not None or self._blobs.is_absent(digest)

    def fetch(
        self, digest: str, target: Path, tree: bool, linked: frozenset[str] = frozenset()
    ) -> None:
        """Like `Store.fetch`; missing blobs are fetched from the remote first, 16 at once."""
        if tree:
            self.bring(digest, tree)
        super().fetch(digest, target, tree, linked)

    def bring(self, digest: str, tree: bool) -> bool:
        """Fetch an artifact's missing blobs; returns whether all of it is here."""
        if not self._bring_blob(digest):
            return False
        if not tree:
            return True
        try:
            files = self.index(digest)
            missing = self._missing(files)
        except FileNotFoundError:
            return False
        sizes = {file.digest: file.size for file in files}

        def bring(digest: str) -> bool:
            return self._bring_blob(digest, sizes[digest])

        return all(self.remote.each(bring, dict.fromkeys(missing))) if missing else True

    def read(self, digest: str) -> bytes:
        """Like `Store.read`; a missing or damaged blob is fetched from the remote."""
        try:
            return super().read(digest)
        except FileNotFoundError:
            if not self._bring_blob(digest):
                raise
        return super().read(digest)

    @contextlib.contextmanager
    def opened(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        """Like `Store.opened`; a missing or damaged blob is fetched from the remote."""
        with contextlib.ExitStack() as held:
            try:
                found = held.enter_context(super().opened(digest))
            except FileNotFoundError:
                if not self._bring_blob(digest):
                    raise
                found = held.enter_context(super().opened(digest))
            yield found

    def _fetch_file(self, digest: str, target: Path) -> None:
        try:
            super()._fetch_file(digest, target)
            return
        except FileNotFoundError:
            if not self._bring_blob(digest):
                raise
        super()._fetch_file(digest, target)

    def publish(self, entry: ActionEntry) -> None:
        """Upload a result in the background; a later run uploads what fails now."""
        if not self.settings.writes or entry.digests_only:
            return
        with contextlib.suppress(OSError, CannotWrite):
            self.folder(UNPUSHED)
            self._mark_of(entry.key).touch()
        with self._lock:
            self._queued.add(entry.key)
            if self._publisher is None:
                from concurrent.futures import ThreadPoolExecutor

                self._publisher = ThreadPoolExecutor(2, "publish")
            self._publisher.submit(self._publish, entry)

    def push(self, *entries: ActionEntry) -> None:
        """Upload results: files, then indexes of trees, then entries.

        A result from the remote is passed on unchanged, with its signature; any other is signed by
        this machine. Raises RemoteFailure; FileNotFoundError if bytes are neither here nor there.
        """
        from buildsys.execution.store.garbage_collection import files_of

        foreign = {entry.key: self._foreign_bytes(entry) for entry in entries}
        with self._lock:
            made_again = [e for e in entries if e.key in self._found and foreign[e.key] is None]
        for entry in made_again:
            self._blobs.note_damaged(files_of(self, entry))
        outputs = [output for entry in entries for output in entry.outputs]
        indexes = {output.digest for output in outputs if output.tree}
        files = {output.digest: None for output in outputs if not output.tree}
        files |= {file.digest: None for digest in indexes for file in self.index(digest)}
        self.remote.each(self._push_blob, [each for each in files if each not in indexes])
        self.remote.each(self._push_blob, indexes)
        by_key = {entry.key: entry for entry in entries}
        self.remote.each(lambda key: self._push_entry(by_key[key], foreign[key]), by_key)

    def can_pass_on(self, entry: ActionEntry) -> bool:
        """Return whether this machine may upload a result, as its own or unchanged."""
        return self.is_own_result(entry) or self._foreign_bytes(entry) is not None

    def is_own_result(self, entry: ActionEntry) -> bool:
        """Return whether this machine made or imported a result.

        A worker signs its own results; this machine's key does not.
        """
        own = self.entry(entry.key)
        if own is None or own.outputs != entry.outputs:
            return False
        return not is_of_worker(own) or not self.remote.signs

    def is_foreign(self, key: str, outputs: Iterable[tuple[str, str]]) -> bool:
        """See `Store`."""
        with contextlib.suppress(OSError):
            own = self.entry(key)
            if own is not None and not is_of_worker(own):
                return {(o.name, o.digest) for o in own.outputs} != set(outputs)
        return True

    def _foreign_bytes(self, entry: ActionEntry) -> bytes | None:
        """Return the bytes of a remote's entry; None for this machine's own result."""
        if self.is_own_result(entry):
            return None
        found = self.find_foreign(entry.key)
        return found.data if found is not None and found.entry.outputs == entry.outputs else None

    def push_blobs(self, digest: str, tree: bool) -> None:
        """Upload an artifact without an entry. Raises RemoteFailure, FileNotFoundError."""
        if self._blobs.is_there(digest):
            return  # the files of a tree are uploaded before its index
        if tree:
            self.remote.each(self._push_blob, [file.digest for file in self.index(digest)])
        self._push_blob(digest)

    def finish_run(self, wait: bool = True) -> None:
        """Upload the results of this run and what earlier runs could not upload, and print the
        traffic.

        Without `wait`, uploads that have not started are left to the next run.
        """
        if wait:
            self._push_left()
        if self._publisher is not None:
            self._publisher.shutdown(wait=wait, cancel_futures=not wait)
            self._publisher = None
        if self._remote is None:
            return
        self._remote.close(wait)
        for line in self._remote.describe_traffic() if wait else ():
            self.print_line(line)
        if wait and not self._remote.is_given_up:
            self._print_left(self._remote)

    def _print_left(self, remote: "Remote") -> None:
        """Print how many results of this run were not uploaded; the reason was printed."""
        from buildsys.execution.store.remote import UPLOADED_LATER

        with self._lock:
            left = sum(self._mark_of(key).exists() for key in self._queued)
        if left:
            were = f"{count_text(left, 'result')} {'was' if left == 1 else 'were'} not uploaded"
            self.print_line(f"{remote.settings.url}: {were}; {UPLOADED_LATER} what is missing")

    def _print_line(self, text: str) -> None:
        """Print a line to the current output."""
        self.print_line(text)

    def _push_left(self) -> None:
        """Upload what earlier runs could not upload."""
        if not self.settings.writes:
            return
        with contextlib.suppress(OSError):
            for path in sorted((self.root / UNPUSHED).glob(f"*.{remote_id(self.settings)}")):
                key = path.name.partition(".")[0]
                entry = self.entry(key) if is_digest(key) else None
                with self._lock:
                    is_queued = key in self._queued
                if entry is None:
                    path.unlink(missing_ok=True)
                elif not is_queued:
                    self.publish(entry)

    def _publish(self, entry: ActionEntry) -> None:
        try:
            if self.remote.writes:
                self.push(entry)
        except RemoteFailure:
            return  # already printed; the mark stays for the next run
        except FileNotFoundError:  # the run that makes the bytes again offers them again
            self._unmark(entry.key)
        except BuildsysError as error:
            self.print_line(
                f"the result of {entry.module} was not uploaded to the remote store: {error}"
            )
        except UNEXPECTED as error:  # no caller waits for this thread
            doing = f"uploading the result of {entry.module} to the remote store"
            self.print_line(explain(error, doing, None))

    def _push_entry(self, entry: ActionEntry, foreign: bytes | None) -> None:
        if foreign is None:
            self.remote.put_entry(entry)
        else:
            self.remote.pass_on(RemoteResult(entry=entry, data=foreign))
        self._unmark(entry.key)

    def _mark_of(self, key: str) -> Path:
        """Return the file that marks a result as not uploaded yet."""
        return self.root / UNPUSHED / f"{key}.{remote_id(self.settings)}"

    def _unmark(self, key: str) -> None:
        with contextlib.suppress(OSError):
            self._mark_of(key).unlink(missing_ok=True)

    def _push_blob(self, digest: str) -> None:
        """Upload a blob that the remote lacks, has in another size, or has damaged."""
        if not self._blobs.is_damaged(digest):
            size = self.size(digest)
            if self._blobs.is_there(digest) or self.remote.size(digest) == size is not None:
                return
        with self.opened(digest):  # a damaged local blob is not uploaded
            self.remote.put_blob(digest, self.blob(digest))
        self._blobs.note_put(digest)

    def note_there(self, digests: Iterable[str]) -> None:
        """Record that blobs were uploaded by others since the last query."""
        self._blobs.note_there(digests)

    def missed(self, digest: str, tree: bool) -> set[str]:
        """Return those blobs of an artifact that the remote lacks or has damaged."""
        found = {digest} if self._blobs.is_absent(digest) else set[str]()
        with contextlib.suppress(OSError):
            if tree and not found:
                found = {f.digest for f in self.index(digest) if self._blobs.is_absent(f.digest)}
        return found

    def note_unusable(self, digests: Iterable[str]) -> None:
        """Record blobs as missing or damaged in the remote: those that are here are uploaded
        again.
        """
        for digest in digests:
            self._blobs.note_absent(digest)
            self._blobs.note_damaged([digest])

    def _bring_blob(self, digest: str, size: int | None = None) -> bool:
        """Return whether a blob is here after fetching it; `size`: if known. Raises CannotWrite."""
        if self.size(digest) is not None:
            return True
        if not is_digest(digest) or self._blobs.is_absent(digest) or not self.remote.reads:
            return False
        try:
            self.bring_new(digest, size)
        except (Damaged, FileNotFoundError):
            return False
        except RemoteFailure:
            self._blobs.note_absent(digest)
            return False
        return True

    def bring_new(self, digest: str, size: int | None = None) -> None:
        """Fetch a blob from the remote, whatever was found before; no more than its `size`, if
        known.

        Raises Damaged, FileNotFoundError, RemoteFailure, CannotWrite.
        """
        if self.size(digest) is not None:
            return
        try:
            with self._new(self.blob(digest), 0) as temporary:
                self.remote.fetch(digest, temporary, size)
                seal(temporary)
        except Damaged:
            self.note_unusable([digest])
            self.print_line(f"{self.settings.url}: {digest[:12]} is damaged there and was ignored")
            raise
        except FileNotFoundError:
            self._blobs.note_absent(digest)
            raise

    def find_fault(self, digest: str, tree: bool) -> str:
        """Return why an artifact that was just uploaded by another machine cannot be read.

        Returns an empty text if it can. Checks that it and, for a tree, its files exist; damaged
        files are noticed when they are read. Raises RemoteFailure, CannotWrite.
        """
        size = self.remote.size(digest)
        if size is None:
            return "it is not there"
        if not tree:
            return ""
        try:
            self.bring_new(digest, size)
            files = self.index(digest)
        except Damaged:
            return f"{digest[:12]} is damaged"
        except FileNotFoundError:
            return f"{digest[:12]} is not the list of a folder's files"
        foreign = [file for file in files if self.size(file.digest) != file.size]
        sizes = self.remote.each(self.remote.size, [file.digest for file in foreign])
        for file, size in zip(foreign, sizes, strict=True):
            if size != file.size:
                return f"`{file.name}` is {'missing' if size is None else 'damaged'}"
        self.note_there([digest, *(file.digest for file in files)])
        return ""

    def mark_unreadable(self, digest: str, blobs: Iterable[str]) -> None:
        """Record that another machine could not read an artifact's blobs in the remote.

        `push_blobs` then uploads them again, or finds that they are lost. Raises RemoteFailure,
        CannotWrite.
        """
        for blob in blobs:
            with contextlib.suppress(Damaged, FileNotFoundError):
                self.bring_new(blob)
                self._blobs.note_damaged([blob])
        self._blobs.note_absent(digest)

    def damaged(self, digest: str, tree: bool) -> set[str]:
        """Return those blobs of an artifact that are damaged in the remote and were not
        replaced.
        """
        return {blob for blob in self.missed(digest, tree) if self._blobs.is_damaged(blob)}

    def _may_come(self, digest: str) -> bool:
        """Return whether the remote may have a blob, as far as is known or can be queried."""
        if self._blobs.is_absent(digest) or not self.remote.reads:
            return False
        if self._blobs.is_there(digest):
            return True
        found = None
        with contextlib.suppress(RemoteFailure):
            found = self.remote.size(digest)
        if found is None:
            self._blobs.note_absent(digest)
        else:
            self._blobs.note_named([digest])
        return found is not None

    def _is_here(self, digest: str, tree: bool) -> bool:
        """Like `Store.has`, without fetching an index."""
        return self.size(digest) is not None and super().has(digest, tree)

    def _is_whole_here(self, key: str) -> bool:
        """Return whether everything that an action made is on this machine."""
        with contextlib.suppress(OSError):
            own = self.entry(key)
            if own is not None and self._counts(own) and self._is_all_here(own):
                return True
        kept = self._kept.find(key)
        return kept is not None and self._is_all_here(kept.entry)

    def _is_all_here(self, entry: ActionEntry) -> bool:
        return entry.digests_only or all(self._is_here(o.digest, o.tree) for o in entry.outputs)

    def note(self, entry: ActionEntry) -> None:
        """Record the result of a worker of this run's cluster; its bytes may follow later."""
        self.put_record(self._action(entry.key), write_entry(entry))

    def keep_signed(self, key: str, machine: str) -> ActionEntry | None:
        """Keep the remote's entry of an action and return it; None without a trusted signature.

        Raises RemoteFailure.
        """
        found = self.remote.find_result(key, machine)
        if found is None:
            return None
        with contextlib.suppress(OSError, CannotWrite):  # a read-only store
            self._kept.keep(found)
        with self._lock:
            self._found.pop(key, None)  # the remote's earlier answer
        return found.entry


def require_shared(store: Store, writes: bool = False) -> SharedStore:
    """Return the store as one with a remote store behind it, without connecting to it.

    `writes`: it is to be changed. Raises BuildsysError where it has no remote or must not be
    changed.
    """
    if not isinstance(store, SharedStore):
        if store.trust:
            raise BuildsysError(
                "the remote store is disabled: BUILDSYS_REMOTE or BUILDSYS_REMOTE_MODE is `none`"
            )
        raise BuildsysError(
            "no remote store is configured: `remote: {url: …}` in buildsys.yaml, or BUILDSYS_REMOTE"
        )
    if writes:
        settings = store.settings
        if settings.scheme in READ_ONLY_SCHEMES:
            raise BuildsysError(f"{settings.url}: {ONLY_READ}")
        if not settings.writes:
            shorter = ""
            if os.environ.get("BUILDSYS_REMOTE_MODE") == "read":
                shorter = "; for `buildsys store push` it is enough to unset BUILDSYS_REMOTE_MODE"
            raise BuildsysError(
                f"{settings.url} is only read: {variables_of(settings)} and"
                f" BUILDSYS_REMOTE_MODE=read-write in your environment allow uploads{shorter}"
            )
    return store
