"""A store on this machine with a remote one behind it.

A result that the remote has counts as here; its bytes come when something reads them. What this
machine makes is put there while other steps run, blobs first, where `mode` allows it.
"""

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from buildsys.digest import digest_bytes
from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.store.action_entry import ActionEntry, write_entry
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.store import Store, seal
from buildsys.execution.unexpected import UNEXPECTED, explain
from buildsys.records import is_digest
from buildsys.remote_settings import RemoteSettings

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from buildsys.execution.store.remote import Remote

_UNPUSHED = "unpushed"


class SharedStore(Store):
    """Reads through to a remote store; see `Store` for what each method promises."""

    is_shared = True

    def __init__(self, root: Path, settings: RemoteSettings) -> None:
        super().__init__(root)
        self.settings = settings
        self._remote: Remote | None = None
        self._connecting = threading.Lock()
        self._began = time.monotonic()
        self._asked: set[tuple[str, str]] = set()
        self._there: set[str] = set()
        """Digests that the remote has, by an entry that counts or by its own word."""
        self._absent: set[str] = set()
        """Digests that it does not have, or only damaged; asked once a run."""
        self._damaged_there: set[str] = set()
        self._given: set[str] = set()
        """Actions whose results the remote has: who makes one all the same found it damaged."""
        self._publisher: ThreadPoolExecutor | None = None
        self._queued: set[str] = set()
        """Keys of the results that this run has offered."""

    @property
    def remote(self) -> "Remote":
        """What is behind it; a run that needs nothing from there loads nothing for it."""
        from buildsys.execution.store.remote import Remote

        with self._connecting:
            if self._remote is None:
                self._remote = Remote(self.settings, self._speak)
            return self._remote

    def look_up(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Ask for what actions made, (key, architecture) each, all at once; each once a run."""
        new = [
            item
            for item in dict.fromkeys(wanted)
            if item not in self._asked and not self._is_whole_here(item[0])
        ]
        self._asked.update(new)
        if not new or not self.remote.reads:
            return
        machines = dict(new)

        def find(key: str) -> ActionEntry | None:
            with contextlib.suppress(RemoteFailure):
                return self.remote.find_entry(key, machines[key])
            return None

        for entry in filter(None, self.remote.each(find, machines)):
            self._given.add(entry.key)
            self._there.update(output.digest for output in entry.outputs)
            with contextlib.suppress(CannotWrite):  # a store that may only be read
                self.note(entry)

    def forget(self, key: str) -> None:
        """Somebody else may have made this meanwhile: it is asked for again."""
        self._asked = {item for item in self._asked if item[0] != key}

    def has(self, digest: str, tree: bool) -> bool:
        """Whether an artifact's files are all here, or in the remote as far as is known."""
        if self._is_here(digest, tree):
            return True
        if not is_digest(digest) or not self._may_come(digest):
            return False
        if tree and self.size(digest) is not None:  # what lacks is one of its files
            with contextlib.suppress(OSError, CannotWrite):
                return self._absent.isdisjoint(file.digest for file in self.index(digest))
        return True

    def fetch(
        self, digest: str, target: Path, tree: bool, linked: frozenset[str] = frozenset()
    ) -> None:
        """As `Store.fetch`; what is not here comes from the remote first, 16 files at once."""
        try:
            if tree:
                self.bring(digest, tree)
            super().fetch(digest, target, tree, linked)
        except FileNotFoundError:
            self._absent.add(digest)
            raise

    def bring(self, digest: str, tree: bool) -> bool:
        """Bring an artifact here; returns whether all of it is."""
        if not self._bring_blob(digest):
            return False
        if not tree:
            return True
        missing = [f.digest for f in self.index(digest) if self.size(f.digest) != f.size]
        return all(self.remote.each(self._bring_blob, dict.fromkeys(missing)))

    def publish(self, entry: ActionEntry) -> None:
        """Put a result into the remote, in the background; one that cannot be put there is kept in mind."""
        if not self.settings.writes or entry.digests_only:
            return
        with contextlib.suppress(OSError, CannotWrite):
            (self.folder(_UNPUSHED) / self._unpushed_name(entry.key)).touch()
        self._queued.add(entry.key)
        if self._publisher is None:
            from concurrent.futures import ThreadPoolExecutor

            self._publisher = ThreadPoolExecutor(2, "publish")
        self._publisher.submit(self._publish, entry)

    def push(self, *entries: ActionEntry) -> None:
        """Put results into the remote: files, then indexes of trees, then entries. Raises RemoteFailure, and
        FileNotFoundError where their bytes are neither here nor there.
        """
        from buildsys.execution.store.garbage_collection import files_of

        for entry in entries:
            if entry.key in self._given:
                self._damaged_there.update(files_of(self, entry))
        outputs = [output for entry in entries for output in entry.outputs]
        indexes = {output.digest for output in outputs if output.tree}
        files = {output.digest: None for output in outputs if not output.tree}
        files |= {file.digest: None for digest in indexes for file in self.index(digest)}
        self.remote.each(self._push_blob, [each for each in files if each not in indexes])
        self.remote.each(self._push_blob, indexes)
        by_key = {entry.key: entry for entry in entries}
        self.remote.each(lambda key: self._push_entry(by_key[key]), by_key)

    def push_blobs(self, digest: str, tree: bool) -> None:
        """Put an artifact into the remote, without any entry. Raises RemoteFailure, FileNotFoundError."""
        if digest in self._there and digest not in self._damaged_there:
            return  # the files of a tree are put there before its index
        if tree:
            self.remote.each(self._push_blob, [file.digest for file in self.index(digest)])
        self._push_blob(digest)

    def finish_run(self, wait: bool = True) -> None:
        """The end of a run: what was made is put into the remote, and what earlier runs could not put
        there; says what was moved. Without `wait` what has not begun is left to the next run.
        """
        if wait:
            self._push_left()
        if self._publisher is not None:
            self._publisher.shutdown(wait=wait, cancel_futures=not wait)
            self._publisher = None
        if self._remote is None:
            return
        from buildsys.execution.store.remote import describe_traffic

        self._remote.close(wait)
        text = describe_traffic(self._remote.traffic, time.monotonic() - self._began)
        if text and wait:
            self.say(f"{self.settings.url}: {text}")

    def _speak(self, text: str) -> None:
        """Whoever listens now."""
        self.say(text)

    def _push_left(self) -> None:
        """What earlier runs could not put there."""
        if not self.settings.writes:
            return
        with contextlib.suppress(OSError):
            for path in sorted((self.root / _UNPUSHED).glob(f"*.{self._remote_id}")):
                key = path.name.partition(".")[0]
                entry = self.entry(key) if is_digest(key) else None
                if entry is None:
                    path.unlink(missing_ok=True)
                elif key not in self._queued:
                    self.publish(entry)

    def _publish(self, entry: ActionEntry) -> None:
        try:
            if self.remote.writes:
                self.push(entry)
        except (RemoteFailure, FileNotFoundError):
            return  # the first was said; of the other, a later run makes the bytes again
        except BuildsysError as error:
            self.say(f"the result of {entry.module} was not put into the remote store: {error}")
        except UNEXPECTED as error:  # nobody waits for this thread to hear of it
            doing = f"putting the result of {entry.module} into the remote store"
            self.say(explain(error, doing, None))

    def _push_entry(self, entry: ActionEntry) -> None:
        self.remote.put_entry(entry)
        with contextlib.suppress(OSError):
            (self.root / _UNPUSHED / self._unpushed_name(entry.key)).unlink(missing_ok=True)

    def _push_blob(self, digest: str) -> None:
        """A blob that the remote does not have in its size, or has damaged."""
        if digest not in self._damaged_there:
            size = self.size(digest)
            if digest in self._there or self.remote.size(digest) == size is not None:
                return
        with self.opened(digest):  # what is damaged here is not passed on
            self.remote.put_blob(digest, self.blob(digest))
        self._there.add(digest)
        self._absent.discard(digest)
        self._damaged_there.discard(digest)

    def note_there(self, digests: Iterable[str]) -> None:
        """Somebody has put blobs into the remote since it was asked."""
        found = set(digests)
        if not found.isdisjoint(self._absent):  # the files of a tree came before its index
            self._absent.clear()
        self._there |= found
        self._damaged_there -= found

    def note_absent(self, digests: Iterable[str]) -> None:
        """Somebody has missed blobs in the remote, or found them damaged: what is here is put there again."""
        found = set(digests)
        self._there -= found
        self._absent |= found
        self._damaged_there |= found

    def missed(self, digest: str, tree: bool) -> set[str]:
        """Of an artifact's blobs those that the remote was found not to have, or to have damaged."""
        if digest in self._absent:
            return {digest}
        with contextlib.suppress(OSError):
            return self._absent & {file.digest for file in self.index(digest)} if tree else set()
        return set()

    def _open(self, digest: str) -> IO[bytes]:
        """A blob's file, brought here where it is not."""
        try:
            return super()._open(digest)
        except FileNotFoundError:
            if not is_digest(digest) or not self._bring_blob(digest):
                raise
            return super()._open(digest)

    def _bring_blob(self, digest: str) -> bool:
        """Whether a blob is here now. Raises CannotWrite."""
        if self.size(digest) is not None:
            return True
        if digest in self._absent or not self.remote.reads:
            return False
        try:
            with self._new(self.blob(digest), 0) as temporary:
                self.remote.fetch(digest, temporary)
                seal(temporary)
        except Damaged:
            self._damaged_there.add(digest)
            self._give_up(digest)
            self.say(f"{self.settings.url}: {digest[:12]} is damaged there; it counts as absent")
            return False
        except (FileNotFoundError, RemoteFailure):
            self._give_up(digest)
            return False
        return True

    def _give_up(self, digest: str) -> None:
        self._absent.add(digest)
        self._there.discard(digest)

    def _may_come(self, digest: str) -> bool:
        """Whether the remote has a blob, as far as it is known or can be asked."""
        if digest in self._absent or not self.remote.reads:
            return False
        if digest in self._there:
            return True
        found = None
        with contextlib.suppress(RemoteFailure):
            found = self.remote.size(digest)
        (self._absent if found is None else self._there).add(digest)
        return found is not None

    def _is_here(self, digest: str, tree: bool) -> bool:
        """`Store.has`, for which no index is fetched."""
        return self.size(digest) is not None and super().has(digest, tree)

    def _is_whole_here(self, key: str) -> bool:
        """Whether this machine alone knows what an action made."""
        with contextlib.suppress(OSError):
            entry = self.entry(key)
            return entry is not None and (
                entry.digests_only
                or all(self._is_here(output.digest, output.tree) for output in entry.outputs)
            )
        return False

    def note(self, entry: ActionEntry) -> None:
        """Record what somebody else's machine made; its bytes may come later."""
        data = write_entry(entry)
        with self._new(self._action(entry.key), len(data)) as temporary:
            temporary.write_bytes(data)

    @property
    def _remote_id(self) -> str:
        return digest_bytes(self.settings.url.encode())[:16]

    def _unpushed_name(self, key: str) -> str:
        return f"{key}.{self._remote_id}"


def require_shared(store: Store, writes: bool = False) -> SharedStore:
    """A store that has a remote one behind it, which is asked nothing yet. Raises BuildsysError where there
    is none, or where nothing may be put there: `writes`.
    """
    if not isinstance(store, SharedStore):
        raise BuildsysError(
            "no remote store is configured: `remote: {url: …}` in buildsys.yaml, or BUILDSYS_REMOTE"
        )
    if writes:
        from buildsys.execution.store.remote import signing_key

        settings = store.settings
        if not settings.writes:
            raise BuildsysError(
                f"{settings.url} is only read: `mode: read-write` in buildsys.yaml, or"
                " BUILDSYS_REMOTE_MODE=read-write, allows more"
            )
        signing_key(settings)
    return store
