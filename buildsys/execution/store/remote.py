"""A remote store during one run: entries and blobs by digest, until it has failed twice.

It is asked for the first time when something is wanted from it. What it gives counts when its digest
is the one that was asked for; a failure costs one line, and after two of a kind nothing is asked any
more.
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
from buildsys.execution.store.action_entry import ActionEntry, action_name, blob_name
from buildsys.execution.store.objects import RemoteObjects, open_objects
from buildsys.execution.store.remote_entry import (
    LARGEST_ENTRY,
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
"""Failures, one after the other, after which nothing is asked any more in this run."""
_LINE_EVERY_SECONDS = 10.0


@dataclass(kw_only=True)
class Traffic:
    """What went over the wire in a run."""

    entries_read: int = 0
    blobs_read: int = 0
    bytes_read: int = 0
    entries_written: int = 0
    blobs_written: int = 0
    bytes_written: int = 0
    questions: int = 0


class _Direction:
    """Reading, or writing: how often it has failed, and whether it goes on."""

    def __init__(self) -> None:
        self.failures = 0
        self.on = True
        self._failed_at = 0.0

    def count(self, began: float) -> bool:
        """A request failed that began at that time; whether it counts. A server that is reset fails all that
        are under way, once.
        """
        if self.failures and began < self._failed_at:
            return False
        self.failures += 1
        self._failed_at = time.monotonic()
        return True


class Remote:
    """The store that `remote` of buildsys.yaml names. Methods raise RemoteFailure."""

    def __init__(self, settings: RemoteSettings, say: Callable[[str], None]) -> None:
        self.settings, self.say = settings, say
        self.traffic = Traffic()
        self._reading, self._writing = _Direction(), _Direction()
        self._without = "this run continues with the store of this machine"
        if settings.writes:
            self._without += "; a later run, or `buildsys store push`, uploads its results"
        self._objects: RemoteObjects | None = None
        self._signing: SigningKey | None = None
        self._opening, self._counting = threading.RLock(), threading.Lock()
        self._marking = threading.Lock()
        self._large = threading.Semaphore(_LARGE_AT_ONCE)
        self._pool: ThreadPoolExecutor | None = None
        self._shown: set[str] = set()
        self._fetching = Progress(settings.url, "fetched", say)
        self._putting = Progress(settings.url, "put there", say)
        self._marked = self._tried = False
        self._ended = False

    @property
    def reads(self) -> bool:
        """Whether it can be asked; looks for the server at the first question."""
        self._open()
        return self._objects is not None and self._reading.on

    @property
    def writes(self) -> bool:
        """Whether results can be put there."""
        if not self.settings.writes:
            return False
        self._open()
        return self._objects is not None and self._writing.on

    @property
    def signs(self) -> bool:
        """Whether a key of this machine signs what is put there."""
        self._open()
        return self._signing is not None

    def each(self, do: Callable[[str], T], names: Iterable[str]) -> list[T]:
        """Do something for every name, 16 at once."""
        with self._opening:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(AT_ONCE, "remote")
        return list(self._pool.map(do, names))

    def find_entry(self, key: str, machine: str) -> ActionEntry | None:
        """What an action made, by a kind of machine; None where nothing there counts."""
        found = self.find_result(key, machine)
        return found.entry if found else None

    def find_result(self, key: str, machine: str) -> RemoteResult | None:
        """`find_entry`, with the bytes that it came as."""
        name = action_name(key, machine)
        data = self._ask(lambda objects: objects.read(name, LARGEST_ENTRY))
        if data is None:
            return None
        try:
            entry = read_remote_entry(data, key, machine, self.settings.trusted)
        except ValueError as error:
            self._say_once(f"{self.settings.url}: one of its results was ignored: {error}")
            return None
        self._count(entries_read=1, bytes_read=len(data))
        return RemoteResult(entry=entry, data=data)

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None where it is not there."""
        return self._ask(lambda objects: objects.size(blob_name(digest)))

    def fetch(self, digest: str, file: Path, size: int | None = None) -> None:
        """A blob's bytes into a file; no more than its `size`, where that is known.

        Raises FileNotFoundError, Damaged, OSError.
        """
        began = time.monotonic()
        chunks = self._ask(lambda objects: _begin(objects.stream(blob_name(digest))))
        state, came = hashlib.sha256(), 0
        with file.open("wb") as out:
            while chunk := self._ask(lambda _: next(chunks, b""), began=began):
                came += len(chunk)
                if size is not None and came > size:
                    raise Damaged(digest)
                state.update(chunk)
                out.write(chunk)
                self._count(bytes_read=len(chunk))
        if state.hexdigest() != digest:
            raise Damaged(digest)
        self._count(blobs_read=1)

    def put_blob(self, digest: str, file: Path) -> None:
        """A blob, whose bytes are those of its digest."""
        size = file.stat().st_size
        large = self._large if size > _LARGE else contextlib.nullcontext()

        self._mark(try_it=True)

        def put(objects: RemoteObjects) -> None:
            with large:
                objects.write_file(blob_name(digest), file)

        self._ask(put, writing=True)
        self._count(blobs_written=1, bytes_written=size)

    def put_entry(self, entry: ActionEntry) -> None:
        """What this machine made, signed where there is a key; its blobs are there."""
        self._mark()
        self.pass_on(RemoteResult(entry=entry, data=write_remote_entry(entry, self._signing)))

    def pass_on(self, result: RemoteResult) -> None:
        """What somebody made, as it came; its blobs are there."""
        self._mark()
        name = action_name(result.entry.key, result.entry.machine)
        self._ask(lambda objects: objects.write(name, result.data), writing=True)
        self._count(entries_written=1, bytes_written=len(result.data))

    def remove(self, *names: str) -> None:
        """Remove objects, by their names there."""
        self._ask(lambda objects: objects.delete(names), writing=True)

    def objects(self) -> RemoteObjects:
        """The objects themselves. Raises RemoteFailure where the server cannot be reached, BuildsysError
        where something is missing here.
        """
        if self.settings.trusted:
            check_signatures()
        found = open_objects(self.settings, self._say_waiting)
        found.probe()
        self._marked = _has_mark(found)
        return found

    def _say_waiting(self, text: str) -> None:
        self.say(f"{self.settings.url}: {text}")

    def go_on_from(self, other: "Remote") -> None:
        """Use what another run of the same settings has found, if it still got its answers: the server is
        not looked for anew.
        """
        if other._objects is not None and other._reading.on and other._writing.on:
            self._objects, self._signing = other._objects, other._signing
            self._objects.say = self._say_waiting
            self._marked = other._marked

    @property
    def has_answered(self) -> bool:
        """Whether it has answered all that was asked of it."""
        return self.reads and not self._reading.failures

    @property
    def is_connected(self) -> bool:
        """Whether the server has answered already."""
        return self._objects is not None

    def prove_writing(self) -> None:
        """Put the mark there, whatever was found before. Raises BuildsysError where nothing can be put there."""
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
        """So many files are to be put there: lines on the progress say so."""
        self._putting.files = files

    def describe_traffic(self) -> tuple[str, ...]:
        """A line on what was fetched and one on what was put there; none where nothing was."""
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
        """No more transfers; those that are under way end at once where nobody is to `wait`."""
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
                self._reading.on = self._writing.on = False
                self.say(f"{describe_remote(self.settings)}: {error}; {self._without}")

    def _key(self) -> SigningKey | None:
        """The key that signs; without the one that is wanted, nothing is written."""
        try:
            return signing_key(self.settings)
        except BuildsysError as error:
            self._writing.on = False
            self.say(f"{self.settings.url} is only read: {error}")
        return None

    def _ask(
        self,
        action: Callable[[RemoteObjects], T],
        writing: bool = False,
        began: float | None = None,
    ) -> T:
        """Ask. `began`: when the request did that this goes on with."""
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
                return action(self._objects)
            finally:
                with self._counting:
                    progress.end(time.monotonic())
        except RemoteFailure as failure:
            if self._ended:
                raise
            with self._counting:
                counts = direction.count(began)
                first = counts and direction.failures == 1
                last = counts and direction.failures == _ENOUGH
                if last:
                    direction.on = False
            if first:
                self.say(f"{self.settings.url}: {failure}")
            if last:
                self.say(f"{self.settings.url} is not used for now: {self._without}")
            raise

    def _mark(self, try_it: bool = False) -> None:
        """Say in the store which layout it has; once.

        `try_it`: also where it says so, unless something was put there in this run. Whether a server takes
        anything shows soon with a small object, and late with a large one.
        """
        with self._marking:  # a lock of its own: others go on reading
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

    def _say_once(self, text: str) -> None:
        with self._counting:
            if text in self._shown:
                return
            self._shown.add(text)
        self.say(text)


class Progress:
    """Transfers in one direction: for how long there are any, and how far they are, in a line now and then."""

    def __init__(self, what: str, verb: str, say: Callable[[str], None]) -> None:
        self._what, self._verb, self._say = what, verb, say
        self.files = 0
        """How many there are to be, where that is known."""
        self._under_way, self._seconds, self._since = 0, 0.0, 0.0
        self._line = _LINE_EVERY_SECONDS

    def begin(self, now: float) -> None:
        """A transfer begins."""
        if not self._under_way:
            self._since = now
        self._under_way += 1

    def end(self, now: float) -> None:
        """It has ended."""
        self._under_way -= 1
        if not self._under_way:
            self._seconds += now - self._since

    def _spent(self, now: float) -> float:
        """Seconds in which anything was under way."""
        return self._seconds + (now - self._since if self._under_way else 0.0)

    def show(self, files: int, size: int, now: float) -> None:
        """A line where transfers have taken longer than the last one said."""
        if not size or self._spent(now) < self._line:
            return
        self._line = self._spent(now) + _LINE_EVERY_SECONDS
        count = f"{files} of {self.files} files" if self.files else count_text(files, "file")
        self._say(f"{self._what}: {count} {self._verb}, {self._amount(size, now)}")

    def describe(self, results: int, files: int, size: int, now: float) -> str:
        """A line on all of it; empty where there was nothing."""
        if not results and not files:
            return ""
        counts = f"{count_text(results, 'result')} and {count_text(files, 'file')}"
        return f"{self._what}: {counts} {self._verb}, {self._amount(size, now)}"

    def _amount(self, size: int, now: float) -> str:
        return f"{size_text(size)} ({size_text(int(size / max(self._spent(now), 0.001)))}/s)"


def signing_key(settings: RemoteSettings) -> SigningKey | None:
    """The key that signs what is put there, if any. Raises BuildsysError where what is put there would
    count for nobody.
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
    """The object that says which layout a remote store has."""
    return write_record(RemoteMark())


def _has_mark(objects: RemoteObjects) -> bool:
    """Whether it says which layout it has; one without a whole mark is empty, or has lost it.

    Raises RemoteFailure for a store of another layout, and for http without any mark.
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
    except ValueError:  # a damaged record: who may write puts it there again
        return False
    return True


def _begin(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same, begun: whether there is anything is known at once."""
    first = next(chunks, b"")

    def rest() -> Iterator[bytes]:
        yield first
        yield from chunks

    return rest()
