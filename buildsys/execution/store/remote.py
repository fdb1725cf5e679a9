"""A remote store during one run: entries and blobs by digest, until it fails twice in a row.

The first use connects to it. A blob counts only if its digest matches the request. A failure prints
one line, once for each reason; after two of them, no more requests are made, see `Direction`.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from buildsys.errors import BuildsysError
from buildsys.execution.store.action_entry import (
    LARGEST_ENTRY,
    ActionEntry,
    action_name,
    blob_name,
)
from buildsys.execution.store.direction import Direction, Kind
from buildsys.execution.store.objects import RemoteObjects, open_objects
from buildsys.execution.store.remote_entry import (
    MARK,
    RemoteMark,
    SigningKey,
    check_signatures,
    configured_key,
    read_remote_entry,
    write_remote_entry,
)
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.remote_results import RemoteResult
from buildsys.records import read_record, write_record
from buildsys.remote_settings import RemoteSettings, describe_remote
from buildsys.text import count_text, size_text
from buildsys.typed_json import Mismatch

T = TypeVar("T")
AT_ONCE = 16
_LARGE_AT_ONCE = 4
_LARGE = 8 << 20
_ENOUGH = 2
"""Failures after which this run makes no more requests, see `Direction`."""
_LINE_EVERY_SECONDS = 10.0
UPLOADED_LATER = "a later run, or `buildsys store push`, uploads"


@dataclass(kw_only=True)
class Traffic:
    """What was transferred in a run."""

    entries_read: int = 0
    blobs_read: int = 0
    bytes_read: int = 0
    entries_written: int = 0
    blobs_written: int = 0
    bytes_written: int = 0
    questions: int = 0


class Remote:
    """The store that BUILDSYS_REMOTE, or `remote` in buildsys.yaml, names; methods raise RemoteFailure."""

    def __init__(self, settings: RemoteSettings, print_line: Callable[[str], None]) -> None:
        self.settings, self.print_line = settings, print_line
        self.traffic = Traffic()
        self._reading, self._writing = Direction(), Direction()
        self._without = "this run continues with the store of this machine"
        if settings.writes:
            self._without += f"; {UPLOADED_LATER} its results"
        self.is_given_up = False
        """Whether the line was printed that this run continues without it."""
        self.has_failed = False
        """Whether a request has failed, so that what did not come may exist."""
        self._objects: RemoteObjects | None = None
        self._signing: SigningKey | None = None
        self._opening, self._counting = threading.RLock(), threading.Lock()
        self._marking = threading.Lock()
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._pool: ThreadPoolExecutor | None = None
        self._shown: set[str] = set()
        self._fetching = Progress(settings.url, "fetched", print_line)
        self._putting = Progress(settings.url, "uploaded", print_line)
        self._marked = self._tried = False
        self._ended = False

    @property
    def reads(self) -> bool:
        """Return whether it can be read; the first call connects to the server."""
        self._open()
        return self._objects is not None and self._reading.on

    @property
    def writes(self) -> bool:
        """Return whether results can be uploaded."""
        if not self.settings.writes:
            return False
        self._open()
        return self._objects is not None and self._writing.on

    @property
    def signs(self) -> bool:
        """Return whether a key of this machine signs what is uploaded."""
        self._open()
        return self._signing is not None

    def each(self, do: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Call `do` for every name, 16 at once."""
        with self._opening:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AT_ONCE, "remote")
        return list(self._pool.map(do, names))

    def find_entry(self, key: str, machine: str) -> ActionEntry | None:
        """Return an action's entry for an architecture; None if there is no valid one."""
        found = self.find_result(key, machine)
        return found.entry if found else None

    def find_result(self, key: str, machine: str) -> RemoteResult | None:
        """Return `find_entry`'s result with the bytes of the entry."""
        name = action_name(key, machine)
        data = self._ask(lambda objects: objects.read(name, LARGEST_ENTRY))
        if data is None:
            return None
        try:
            entry = read_remote_entry(data, key, machine, self.settings.trusted)
        except ValueError as error:
            self._print_once(f"{self.settings.url}: one of its results was ignored: {error}")
            return None
        self._count(entries_read=1, bytes_read=len(data))
        return RemoteResult(entry=entry, data=data)

    def size(self, digest: str) -> int | None:
        """Return the size of a blob in bytes; None if it is absent."""
        return self._ask(lambda objects: objects.size(blob_name(digest)))

    def fetch(self, digest: str, file: Path, size: int | None = None) -> None:
        """Fetch a blob into a file; no more than its `size`, if known.

        Raises FileNotFoundError, Damaged, OSError.
        """
        began = time.monotonic()
        chunks = self._ask(lambda objects: _begin(objects.stream(blob_name(digest))), kind="file")
        state, came = hashlib.sha256(), 0
        with file.open("wb") as out:
            while chunk := self._ask(lambda _: next(chunks, b""), kind="file", began=began):
                came += len(chunk)
                if size is not None and came > size:
                    raise Damaged(digest)
                state.update(chunk)
                out.write(chunk)
                self._count(bytes_read=len(chunk))
        self._note_success(self._reading, "file", began)
        if state.hexdigest() != digest:
            raise Damaged(digest)
        self._count(blobs_read=1)

    def put_blob(self, digest: str, file: Path) -> None:
        """Upload a blob from a file with that content."""
        size = file.stat().st_size
        large = self._large if size > _LARGE else contextlib.nullcontext()

        self._mark(try_it=True)

        def put(objects: RemoteObjects) -> None:
            with large:
                objects.write_file(blob_name(digest), file)

        began = time.monotonic()
        self._ask(put, writing=True, kind="file")
        self._note_success(self._writing, "file", began)
        self._count(blobs_written=1, bytes_written=size)

    def put_entry(self, entry: ActionEntry) -> None:
        """Upload the entry of a result of this machine, signed if there is a key, after its
        blobs.
        """
        self._mark()
        self.pass_on(RemoteResult(entry=entry, data=write_remote_entry(entry, self._signing)))

    def pass_on(self, result: RemoteResult) -> None:
        """Upload another machine's entry unchanged, after its blobs."""
        self._mark()
        name = action_name(result.entry.key, result.entry.machine)
        self._ask(lambda objects: objects.write(name, result.data), writing=True)
        self._count(entries_written=1, bytes_written=len(result.data))

    def remove(self, *names: str) -> None:
        """Remove objects by name."""
        self._ask(lambda objects: objects.delete(names), writing=True)

    def objects(self) -> RemoteObjects:
        """Return the objects themselves.

        Raises RemoteFailure if the server cannot be reached, BuildsysError if something is missing
        here.
        """
        if self.settings.trusted:
            check_signatures()
        found = open_objects(self.settings, self._print_waiting)
        found.probe()
        self._marked = _has_mark(found)
        return found

    def _print_waiting(self, text: str) -> None:
        self.print_line(f"{self.settings.url}: {text}")

    def go_on_from(self, other: "Remote") -> None:
        """Reuse what another run with the same settings found, if its requests were answered.

        The connection is not tested again.
        """
        if other._objects is not None and other._reading.on and other._writing.on:
            self._objects, self._signing = other._objects, other._signing
            self._objects.print_line = self._print_waiting
            self._marked = other._marked

    @property
    def is_unread(self) -> bool:
        """Return whether it could not be opened, or a request to read failed; does not connect."""
        return not self._reading.on or self._reading.has_failed

    @property
    def is_connected(self) -> bool:
        """Return whether the server has answered before."""
        return self._objects is not None

    def prove_writing(self) -> None:
        """Write the mark, whatever was found before.

        Raises BuildsysError if nothing can be written.
        """
        try:
            signing = signing_key(self.settings)
            objects = self._objects or self.objects()
            objects.write(MARK, write_mark())
        except RemoteFailure as failure:
            raise BuildsysError(f"{self.settings.url} cannot be written: {failure}") from failure
        with self._opening:
            self._objects, self._signing = objects, signing
            self._marked = self._tried = True

    def expect(self, files: int) -> None:
        """Set the number of files to upload, for the progress lines."""
        self._putting.files = files

    def describe_traffic(self) -> tuple[str, ...]:
        """Return one line each about what was fetched and uploaded; none for no transfer."""
        with self._counting:
            now, moved = time.monotonic(), self.traffic
            lines = (
                self._fetching.describe(
                    moved.entries_read, moved.blobs_read, moved.bytes_read, now
                ),
                self._putting.describe(
                    moved.entries_written, moved.blobs_written, moved.bytes_written, now
                ),
            )
        return tuple(filter(None, lines))

    def close(self, wait: bool) -> None:
        """End all transfers; current ones are cancelled unless `wait`."""
        if not wait:
            self._ended = True
            self._reading.on = self._writing.on = False
            if self._objects is not None:
                self._objects.stop()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _open(self) -> None:
        with self._opening:
            if self._objects is not None or not self._reading.on:
                return
            try:
                if self.settings.writes:
                    self._signing = self._key()
                self._objects = self.objects()
            except (RemoteFailure, BuildsysError) as error:
                self.is_given_up = True
                self._reading.on = self._writing.on = False
                self.print_line(f"{describe_remote(self.settings)}: {error}; {self._without}")

    def _key(self) -> SigningKey | None:
        """Return the key that signs; without a required key, nothing is written."""
        try:
            return signing_key(self.settings)
        except BuildsysError as error:
            self._writing.on = False
            self.print_line(f"{self.settings.url} is only read: {error}")
        return None

    def _ask(
        self,
        action: Callable[[RemoteObjects], T],
        writing: bool = False,
        kind: Kind = "small",
        began: float | None = None,
    ) -> T:
        """Send a request; `began`: when the request that this one continues was sent.

        The success of a file is recorded by the caller, when all of it is there.
        """
        direction = self._writing if writing else self._reading
        if not (self.writes if writing else self.reads):
            raise RemoteFailure(f"{self.settings.url} is not used for the rest of this run")
        assert self._objects is not None
        if began is None:
            began = time.monotonic()
            self._count(questions=1)
        progress = self._putting if writing else self._fetching
        try:
            with self._counting:
                progress.begin(time.monotonic())
            try:
                answer = action(self._objects)
            finally:
                with self._counting:
                    progress.end(time.monotonic())
        except RemoteFailure as failure:
            if not self._ended:
                self._note_failure(direction, kind, began, failure)
            raise
        except FileNotFoundError:
            self._note_success(direction, "small", began)
            raise
        if kind == "small":
            self._note_success(direction, kind, began)
        return answer

    def _note_success(self, direction: Direction, kind: Kind, began: float) -> None:
        with self._counting:
            direction.note_success(kind, began)

    def _note_failure(
        self, direction: Direction, kind: Kind, began: float, failure: RemoteFailure
    ) -> None:
        """Count a failure, and print it; the last one that counts ends the use of the server."""
        with self._counting:
            self.has_failed = True
            counts = direction.count(kind, began)
            first = counts and direction.failures == 1
            last = counts and direction.failures == _ENOUGH
            if last:
                direction.on, self.is_given_up = False, True
        if first:
            self._print_once(f"{self.settings.url}: {failure}")
        if last:
            self.print_line(f"{self.settings.url} is not used for now: {self._without}")

    def _mark(self, try_it: bool = False) -> None:
        """Write the mark with the layout of the store, once.

        `try_it`: also where the mark exists, unless this run has uploaded something. A small object
        shows quickly whether a server accepts uploads, a large one late.
        """
        with self._marking:  # a separate lock, so that reading continues
            if self._tried or (self._marked and not try_it):
                return
            self._ask(lambda objects: objects.write(MARK, write_mark()), writing=True)
            self._marked = self._tried = True

    def _count(self, **changes: int) -> None:
        with self._counting:
            for name, more in changes.items():
                setattr(self.traffic, name, getattr(self.traffic, name) + more)
            now, moved = time.monotonic(), self.traffic
            self._fetching.show(moved.blobs_read, moved.bytes_read, now)
            self._putting.show(moved.blobs_written, moved.bytes_written, now)

    def _print_once(self, text: str) -> None:
        with self._counting:
            if text in self._shown:
                return
            self._shown.add(text)
        self.print_line(text)


class Progress:
    """Transfers in one direction: their duration and amount, with a line now and then."""

    def __init__(self, what: str, verb: str, print_line: Callable[[str], None]) -> None:
        self._what, self._verb, self._print_line = what, verb, print_line
        self.files = 0
        """The expected number of files, if known."""
        self._under_way, self._seconds, self._since = 0, 0.0, 0.0
        self._line = _LINE_EVERY_SECONDS

    def begin(self, now: float) -> None:
        """Record that a transfer starts."""
        if not self._under_way:
            self._since = now
        self._under_way += 1

    def end(self, now: float) -> None:
        """Record that a transfer has ended."""
        self._under_way -= 1
        if not self._under_way:
            self._seconds += now - self._since

    def _spent(self, now: float) -> float:
        """Return the seconds in which any transfer was running."""
        return self._seconds + (now - self._since if self._under_way else 0.0)

    def show(self, files: int, size: int, now: float) -> None:
        """Print a line when transfers have taken longer than at the last line."""
        if not size or self._spent(now) < self._line:
            return
        self._line = self._spent(now) + _LINE_EVERY_SECONDS
        count = f"{files} of {self.files} files" if self.files else count_text(files, "file")
        self._print_line(f"{self._what}: {count} {self._verb}, {self._amount(size, now)}")

    def describe(self, results: int, files: int, size: int, now: float) -> str:
        """Return a line about all transfers; empty if there were none."""
        if not results and not files:
            return ""
        counts = f"{count_text(results, 'result')} and {count_text(files, 'file')}"
        return f"{self._what}: {counts} {self._verb}, {self._amount(size, now)}"

    def _amount(self, size: int, now: float) -> str:
        return f"{size_text(size)} ({size_text(int(size / max(self._spent(now), 0.001)))}/s)"


def signing_key(settings: RemoteSettings) -> SigningKey | None:
    """Return the key that signs uploads, if any.

    Raises BuildsysError where no reader would accept the uploads.
    """
    key = configured_key()
    if settings.trusted and key is None:
        raise BuildsysError(
            "`remote.trusted` requires signed results, but BUILDSYS_SIGNING_KEY names no key"
        )
    if settings.trusted and key is not None and key.public not in settings.trusted:
        raise BuildsysError(f"`remote.trusted` does not list the key that signs here: {key.public}")
    return key


def write_mark() -> bytes:
    """Return the object that names a remote store's layout."""
    return write_record(RemoteMark())


def _has_mark(objects: RemoteObjects) -> bool:
    """Return whether the store has a valid mark; a store without one is empty or has lost it.

    Raises RemoteFailure for a store of another layout, and for http without a valid mark.
    """
    data = objects.read(MARK, LARGEST_ENTRY)
    if data is None:
        if objects.url.startswith("http"):
            raise RemoteFailure(f"it is not a remote store of buildsys ({MARK} is missing)")
        return False
    try:
        read_record(RemoteMark, data)
    except Mismatch as error:
        message = (
            "it has the layout of another release of buildsys: use the same release everywhere"
        )
        raise RemoteFailure(message) from error
    except ValueError as error:  # a damaged record: a writer replaces it
        if objects.url.startswith("http"):  # such as a page to log in, at every address
            message = f"it is not a remote store of buildsys ({MARK} is another file there)"
            raise RemoteFailure(message) from error
        return False
    return True


def _begin(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Return the same iterator after fetching its first item, so that an error is raised at
    once.
    """
    first = next(chunks, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from chunks

    return rest()
