"""Accesses a remote store's objects by name through obstore; no other module imports that library.

Objects are read in one stream and written in parts: a slow connection is not an error, a stalled
one is. Conditional writes are not used: some servers overwrite silently.
"""

import atexit
import contextlib
import datetime as dt
import functools
import os
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from buildsys.errors import BuildsysError, shorten
from buildsys.execution.store.folder_objects import FolderObjects, Listed
from buildsys.execution.store.remote_entry import MARK
from buildsys.execution.store.remote_failure import ConnectionCut, OddName, RemoteFailure
from buildsys.remote_settings import RemoteSettings, addresses
from buildsys.text import size_text

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")
_CONNECT, _PAUSE, _PART_SECONDS = "3s", "20s", 120.0
"""Seconds for a connection, for a server's silence while it sends, and for one part of a file."""
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
_READ_CHUNK = 96 << 10
_SMALL = 1 << 20
"""Bytes: an object up to this size must arrive completely within the time of an answer."""
_UPLOAD_BYTES_PER_SECOND = 10_000
LARGEST = 64 << 30
"""The largest file in bytes, whatever size a server announces."""
_MOST_NAMES = 4_000_000
_MISSING_LIBRARY = (
    "a remote store needs obstore, which is not installed: `pip install 'buildsys[remote]'`"
)
_MAKE_BUCKET = "the bucket does not exist: create it (buildsys does not create buckets)"
_NO_BUCKET = ("NoSuchBucket", "bucket does not exist")
_CUT = "the connection was cut"
_REASONS = (
    ("NoSuchBucket", _MAKE_BUCKET),
    ("The specified bucket does not exist", _MAKE_BUCKET),
    (
        "ContainerNotFound",
        "the container does not exist: create it (buildsys does not create containers)",
    ),
    ("SignatureDoesNotMatch", "the server refuses the credentials"),
    ("InvalidAccessKeyId", "the server refuses the credentials"),
    ("Missing AccessKeyId", "no credentials: AWS_ACCESS_KEY_ID is not set"),
    ("Missing SecretAccessKey", "no credentials: AWS_SECRET_ACCESS_KEY is not set"),
    ("ConnectionRefused", "the connection is refused"),
    ("dns error", "the host name {host} is unknown"),
    ("TimedOut", "it does not answer in time"),
    ("timed out", "it does not answer in time"),
    ("CertificateError", "its certificate is not trusted"),
    ("invalid peer certificate", "its certificate is not trusted"),
    ("ConnectionReset", _CUT),
    ("IncompleteMessage", _CUT),
    ("IncompleteBody", _CUT),
    ("error decoding response body", _CUT),
    ("Range request not supported", _CUT),  # to the library, when it continued after a cut
    ("169.254.169.254", "no credentials: set the provider's variables"),
    ("error following redirect", "it redirects in a circle"),
    ("error sending request", "the server cannot be reached"),
)
"""Parts of obstore's error messages, and their meaning."""
_HOST = re.compile(r"https?://(?:[^/\s@]*@)?([A-Za-z0-9._-]+)", re.ASCII)
_STATUS = re.compile(r"non-2xx status code: (\d{3}(?: [A-Z][A-Za-z' -]{0,40})?)")


_SETTLING_SECONDS = 0.5
"""Seconds.

With obstore 0.12.1 on a busy machine, 7 of 64 processes that ended right after an error were
aborted.
"""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Time limits for a server, in seconds."""

    probe: float = 3.0
    """For the first answer of a run."""
    answer: float = 10.0
    """For an answer, and for sending or receiving a small object."""
    chunk: float = 20.0
    """For 96 KiB of a file to arrive: 16 files at once need 80 KB/s."""
    page: float = 30.0
    """For 1,000 names of a listing."""
    line: float = 10.0
    """Before a line says what is waited for, and between such lines."""


class Objects:
    """The objects below a URL; methods raise RemoteFailure."""

    def __init__(
        self,
        settings: RemoteSettings,
        print_line: Callable[[str], None] = lambda _: None,
        patience: Patience = Patience(),
    ) -> None:
        """Raise BuildsysError without the library, RemoteFailure if the URL cannot be used.

        `print_line`: prints a line when an answer takes long.
        """
        self.url, self.print_line, self._patience = settings.url, print_line, patience
        self._last_line = time.monotonic()
        self._stopped = False
        self._under_way: set[Future[Any]] = set()
        self._stopping = threading.Lock()
        self._ended = 0.0
        atexit.register(self._settle)
        try:
            import obstore
        except ImportError as error:
            raise BuildsysError(_MISSING_LIBRARY) from error
        self._library = obstore
        with _explained():
            self._reading = _open(settings, {"timeout": "12h", "read_timeout": _PAUSE})
            self._writing = _open(settings, {"timeout": f"{_PART_SECONDS:g}s"})

    def probe(self) -> None:
        """Send a request and return when the server has answered.

        http has no listing: there the object that marks a remote store is requested, see `read`.
        """
        library, store, seconds = self._library, self._reading, self._patience.probe
        with contextlib.suppress(FileNotFoundError, OddName):  # the server has answered
            if self.url.startswith("http"):
                self._do(lambda: library.head_async(store, MARK), f"requesting {MARK}", seconds)
            else:
                self._do(lambda: library.list_with_delimiter_async(store), "listing it", seconds)

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if it is absent."""
        try:
            found = self._do(
                lambda: self._library.head_async(self._reading, name), f"requesting {name}"
            )
        except FileNotFoundError as error:
            if any(sign in str(error) for sign in _NO_BUCKET):
                raise RemoteFailure(_MAKE_BUCKET) from error
            return None
        size: int = found["size"]
        return size

    def read(self, name: str, most: int) -> bytes | None:
        """Return an object's bytes; None if it is absent or longer than `most` bytes.

        If it is cut off, it is requested once more, as in `stream`, within the same time.
        """
        end = time.monotonic() + self._patience.answer if most <= _SMALL else None
        try:
            return self._read(name, most, end)
        except ConnectionCut:  # from its beginning: a new version may have come
            return self._read(name, most, end)

    def _read(self, name: str, most: int, end: float | None) -> bytes | None:
        data = bytearray()
        try:
            for chunk in self._chunks(name, end):
                data += chunk
                if len(data) > most:
                    return None
        except FileNotFoundError:
            return None
        return bytes(data)

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object as they arrive; whoever calls compares their digest. Raises
        FileNotFoundError if it is absent.

        If it is cut off, it is requested once more, and what came before is left out: otherwise its
        step would run again. The library continues by itself, if the server sends ETags and knows
        ranges.
        """
        came = 0
        try:
            for chunk in self._chunks(name):
                came += len(chunk)
                yield chunk
            return
        except ConnectionCut:
            pass
        for chunk in self._chunks(name):
            if len(chunk) > came:
                yield chunk[came:]
            came = max(0, came - len(chunk))

    def _chunks(self, name: str, end: float | None = None) -> Iterator[bytes]:
        """Yield the bytes of one answer. `end`: when the last must be here, on the monotonic clock."""
        patience, doing = self._patience, f"reading {name}"

        def left(limit: float) -> float:
            return limit if end is None else max(0.0, min(limit, end - time.monotonic()))

        answer = self._do(
            lambda: self._library.get_async(self._reading, name), doing, left(patience.answer)
        )
        announced: int = answer.meta["size"]
        if announced > LARGEST:
            raise RemoteFailure(f"it announces {size_text(announced)} for {name}")
        chunks = answer.stream(min_chunk_size=_READ_CHUNK)

        async def following() -> bytes:
            async for chunk in chunks:
                return bytes(chunk)
            return b""

        came = 0
        slow = f"less than {size_text(_READ_CHUNK)} of a file came in {patience.chunk:g} s"
        if end is not None:
            slow = f"it does not send {name} within {patience.answer:g} s"
        while True:
            limit = patience.chunk if end is None else left(patience.answer)
            chunk = self._do(following, doing, limit, slow)
            if not chunk:
                return
            came += len(chunk)
            if came > announced:
                raise RemoteFailure(f"it sends more of {name} than it announces")
            yield chunk

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""
        library, store = self._library, self._writing
        seconds = min(self._patience.answer + len(data) / _UPLOAD_BYTES_PER_SECOND, _PART_SECONDS)
        self._do(
            lambda: library.put_async(store, name, data, use_multipart=False),
            f"uploading {name}",
            seconds,
        )

    def write_file(self, name: str, path: Path) -> None:
        """Write a file; a large one is sent in parts, and the object exists when the last has
        arrived.
        """
        library, store, size = self._library, self._writing, path.stat().st_size
        if size <= _PART_BYTES:
            self.write(name, path.read_bytes())
            return
        parts = -(-size // _PART_BYTES)
        self._do(
            lambda: library.put_async(
                store, name, path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            ),
            f"uploading {name}, {size_text(size)}",
            (parts + 2) * _PART_SECONDS,
        )

    def stop(self) -> None:
        """End all transfers and start no more; unfinished objects do not exist."""
        with self._stopping:  # a transfer that starts meanwhile would not be found
            self._stopped = True
            under_way = tuple(self._under_way)
        for each in under_way:
            each.cancel()

    def _settle(self) -> None:
        """Wait shortly before the interpreter ends.

        The library's threads release Python objects a moment after their answer, and abort the
        process if Python has ended by then.
        """
        self.stop()
        time.sleep(max(0.0, self._ended + _SETTLING_SECONDS - time.monotonic()))

    def _do(
        self,
        ask: Callable[[], Awaitable[T]],
        doing: str,
        seconds: float | None = None,
        late: str = "",
    ) -> T:
        """Send a request and wait for the answer; from any thread.

        `seconds`: its time limit, by default that of any answer; `late`: the message when it takes
        longer. Raises FileNotFoundError, RemoteFailure.
        """
        import asyncio

        async def answer() -> T:
            return await ask()

        with self._stopping:
            if self._stopped:
                raise RemoteFailure("it was cancelled")
            future = asyncio.run_coroutine_threadsafe(answer(), _loop())
            self._under_way.add(future)
        try:
            with _explained():
                limit = self._patience.answer if seconds is None else seconds
                return self._wait(future, doing, limit, late)
        finally:
            future.cancel()
            with self._stopping:
                self._under_way.discard(future)
                self._ended = time.monotonic()

    def _wait(self, future: "Future[T]", doing: str, seconds: float, late: str) -> T:
        """Wait for an answer, and print now and then what is waited for."""
        from concurrent.futures import CancelledError

        began = time.monotonic()
        while True:
            left = began + seconds - time.monotonic()
            try:
                return future.result(max(0.0, min(left, self._patience.line)))
            except TimeoutError as error:
                if left <= self._patience.line:
                    message = late or (
                        f"it does not answer within {round(seconds, 1):g} s{_without_credentials(self.url)}"
                    )
                    raise RemoteFailure(message) from error
                if left < 1.25 * self._patience.line:
                    continue  # its result is reported soon
                self._print_waiting(f"{doing} takes {time.monotonic() - began:.0f} s so far")
            except CancelledError as error:
                raise RemoteFailure("it was cancelled") from error

    def _print_waiting(self, text: str) -> None:
        """Print a line, unless one was printed just before."""
        with self._stopping:
            now = time.monotonic()
            if now - self._last_line < self._patience.line or self._stopped:
                return
            self._last_line = now
        self.print_line(text)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield every object below a prefix; the server may send any name.

        Raises OddName for a name that no object can have, and RemoteFailure for a listing without
        an end.
        """
        with _explained():
            pages = self._library.list(self._reading, prefix, chunk_size=1000)
        names: set[str] = set()
        began = time.monotonic()

        async def following() -> "Sequence[ObjectMeta]":
            async for page in pages:
                return page
            return ()

        while page := self._do(following, f"listing {prefix}", self._patience.page):
            found = {each["path"]: each for each in page if each["path"] not in names}
            names |= found.keys()
            if not found:
                raise RemoteFailure("its listing repeats itself endlessly")
            if len(names) > _MOST_NAMES:
                raise RemoteFailure(f"its listing does not end after {len(names):,} names")
            if time.monotonic() - began > self._patience.line:
                self._print_waiting(f"listing {prefix}: {len(names):,} names so far")
            for name, each in found.items():
                changed = each["last_modified"].timestamp()
                yield Listed(name=name, size=each["size"], changed=changed)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; absent ones are ignored."""
        library, store = self._library, self._writing
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._do(functools.partial(library.delete_async, store, name), f"removing {name}")


RemoteObjects = Objects | FolderObjects


def open_objects(settings: RemoteSettings, print_line: Callable[[str], None]) -> RemoteObjects:
    """Return the objects of a remote store, on a server or in a folder.

    Raises as their classes do.
    """
    return FolderObjects(settings) if settings.scheme == "file" else Objects(settings, print_line)


@functools.cache
def _loop() -> "asyncio.AbstractEventLoop":
    """Return the event loop on which all answers are awaited, so that an interrupted run ends at
    once.
    """
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="objects", daemon=True).start()
    return loop


def _open(settings: RemoteSettings, times: "ClientConfig") -> "ObjectStore":
    from obstore.store import AzureStore, GCSStore, HTTPStore, S3Store

    options: ClientConfig = {"connect_timeout": _CONNECT, **times}
    if any(each.startswith("http:") for each in (settings.url, *addresses(settings))):
        options["allow_http"] = True
    retry: RetryConfig = {
        "max_retries": 2,
        "retry_timeout": dt.timedelta(seconds=30),
        "backoff": {
            "init_backoff": dt.timedelta(milliseconds=100),
            "max_backoff": dt.timedelta(seconds=2),
            "base": 2,
        },
    }
    if settings.scheme == "s3" and settings.endpoint:
        return S3Store.from_url(
            settings.url, client_options=options, retry_config=retry, endpoint=settings.endpoint
        )
    if settings.scheme == "s3":
        return S3Store.from_url(settings.url, client_options=options, retry_config=retry)
    if settings.scheme == "gs":
        return GCSStore.from_url(settings.url, client_options=options, retry_config=retry)
    if settings.scheme == "az":
        return AzureStore.from_url(settings.url, client_options=options, retry_config=retry)
    return HTTPStore.from_url(settings.url, client_options=options, retry_config=retry)


def _without_credentials(url: str) -> str:
    """Return a possible cause of a late answer from S3: without credentials, the library requests
    some.
    """
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    if not url.startswith("s3:") or any(os.environ.get(name) for name in names):
        return ""
    return " (and there are no credentials: AWS_ACCESS_KEY_ID is not set)"


class _explained:  # noqa: N801 # used as a statement
    """Turns errors of obstore into RemoteFailure with a reason for people, except
    FileNotFoundError.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(
            error, FileNotFoundError | RemoteFailure | BuildsysError
        ):
            from obstore.exceptions import InvalidPathError

            if isinstance(error, InvalidPathError):
                raise OddName("a name in its listing cannot be that of an object") from error
            reason = explain_error(error)
            raise (ConnectionCut if reason == _CUT else RemoteFailure)(reason) from error


def explain_error(error: Exception) -> str:
    """Return a sentence about an error of obstore."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    for sign, reason in _REASONS:
        if sign in text:
            found = _HOST.search(text)
            return reason.format(host=found[1] if found else "of the server")
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "the server refuses the credentials"
    if status := _STATUS.search(text):
        return f"the server answers with status {status[1].strip()}"
    return f"its answer is not usable: {shorten(text.partition(chr(10))[0], 120)}"
