"""A remote store's objects by name, through obstore: nothing else here knows that library.

Objects are read in one stream that may pause, but not for long, and written in parts, so that a slow
line is no error. Nothing rests on conditional writes: some servers overwrite silently.
"""

import contextlib
import datetime as dt
import functools
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from buildsys.errors import BuildsysError, shorten
from buildsys.execution.store.remote_entry import MARK
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.remote_settings import RemoteSettings, addresses

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")
PROBE_SECONDS = 3.0
_CONNECT, _PAUSE, _PART = "3s", "20s", "120s"
"""How long a connection may take, a server may be silent while it sends, one part of a file may take."""
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
_READ_CHUNK = 1 << 20
_MISSING_LIBRARY = (
    "a remote store needs obstore, which is not installed: `pip install 'buildsys[remote]'`"
)
_NO_BUCKET = ("NoSuchBucket", "bucket does not exist")
_REASONS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("The specified bucket does not exist", "there is no such bucket"),
    ("ContainerNotFound", "there is no such container"),
    ("SignatureDoesNotMatch", "the server refuses the credentials"),
    ("InvalidAccessKeyId", "the server refuses the credentials"),
    ("ConnectionRefused", "the connection is refused"),
    ("dns error", "its name is not known here"),
    ("TimedOut", "it does not answer in time"),
    ("timed out", "it does not answer in time"),
    ("CertificateError", "its certificate is not trusted"),
    ("invalid peer certificate", "its certificate is not trusted"),
    ("ConnectionReset", "the connection was cut"),
    ("IncompleteMessage", "the connection was cut"),
    ("IncompleteBody", "the connection was cut"),
    ("error decoding response body", "the connection was cut"),
    ("169.254.169.254", "no credentials: set the provider's variables"),
    ("Unable to canonicalize filesystem root", "there is no such folder"),
    ("error sending request", "the server cannot be reached"),
)
"""What obstore's errors contain, and what that means."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object as a listing has it: bytes, and seconds since 1970 of its last change."""

    name: str
    size: int
    changed: float


class Objects:
    """The objects below a URL. Names are ours; methods raise RemoteFailure."""

    def __init__(self, settings: RemoteSettings) -> None:
        """Raises BuildsysError without the library, RemoteFailure where the URL leads nowhere."""
        self.url = settings.url
        self._stopped = False
        self._under_way: set[Future[Any]] = set()
        self._stopping = threading.Lock()
        try:
            import obstore
        except ImportError as error:
            raise BuildsysError(_MISSING_LIBRARY) from error
        self._library = obstore
        with _explained():
            self._reading = _open(settings, {"timeout": "12h", "read_timeout": _PAUSE})
            self._writing = _open(settings, {"timeout": _PART})

    def probe(self, seconds: float = PROBE_SECONDS) -> None:
        """Ask for anything at all; returns when the server has answered, within `seconds`.

        http has no listing: there the object that marks a remote store is asked for, see `read`.
        """
        library, store = self._library, self._reading
        if self.url.startswith("http"):
            with contextlib.suppress(FileNotFoundError):
                self._do(lambda: library.head_async(store, MARK), seconds)
        else:
            self._do(lambda: library.list_with_delimiter_async(store), seconds)

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        try:
            found = self._do(lambda: self._library.head_async(self._reading, name))
        except FileNotFoundError as error:
            if any(sign in str(error) for sign in _NO_BUCKET):
                raise RemoteFailure("there is no such bucket") from error
            return None
        size: int = found["size"]
        return size

    def read(self, name: str, most: int) -> bytes | None:
        """A small object; None where there is none, or where it is longer than `most` bytes."""
        data = bytearray()
        try:
            for chunk in self.stream(name):
                data += chunk
                if len(data) > most:
                    return None
        except FileNotFoundError:
            return None
        return bytes(data)

    def stream(self, name: str) -> Iterator[bytes]:
        """The bytes of an object as they come. Raises FileNotFoundError where there is none."""
        answer = self._do(lambda: self._library.get_async(self._reading, name))
        chunks = answer.stream(min_chunk_size=_READ_CHUNK)

        async def following() -> bytes:
            async for chunk in chunks:
                return bytes(chunk)
            return b""

        while chunk := self._do(following):
            yield chunk

    def write(self, name: str, data: bytes) -> None:
        """Put a small object."""
        library, store = self._library, self._writing
        self._do(lambda: library.put_async(store, name, data, use_multipart=False))

    def write_file(self, name: str, path: Path) -> None:
        """Put a file; a large one goes in parts, and is there when the last has come."""
        library, store = self._library, self._writing
        if path.stat().st_size <= _PART_BYTES:
            self.write(name, path.read_bytes())
            return
        self._do(
            lambda: library.put_async(
                store, name, path, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        )

    def stop(self) -> None:
        """End what is under way, and begin nothing more: a file that was on its way is not there."""
        with self._stopping:  # what begins meanwhile would not be found
            self._stopped = True
            under_way = tuple(self._under_way)
        for each in under_way:
            each.cancel()

    def _do(self, ask: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """Ask, and wait for the answer; from any thread. Raises FileNotFoundError, RemoteFailure."""
        import asyncio
        from concurrent.futures import CancelledError

        async def answer() -> T:
            return await ask()

        with self._stopping:
            if self._stopped:
                raise RemoteFailure("it was ended")
            future = asyncio.run_coroutine_threadsafe(answer(), _loop())
            self._under_way.add(future)
        try:
            with _explained():
                try:
                    return future.result(seconds)
                except TimeoutError as error:
                    within = "in time" if seconds is None else f"within {seconds:g} s"
                    message = f"it does not answer {within}{_without_credentials(self.url)}"
                    raise RemoteFailure(message) from error
                except CancelledError as error:
                    raise RemoteFailure("it was ended") from error
        finally:
            future.cancel()
            with self._stopping:
                self._under_way.discard(future)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object below a prefix; the server may send any name."""
        with _explained():
            pages = iter(self._library.list(self._reading, prefix, chunk_size=1000))
        while True:
            with _explained():
                try:
                    page = next(pages)
                except StopIteration:
                    return
            for each in page:
                changed = each["last_modified"].timestamp()
                yield Listed(name=each["path"], size=each["size"], changed=changed)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        library, store = self._library, self._writing
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._do(functools.partial(library.delete_async, store, name))


@functools.cache
def _loop() -> "asyncio.AbstractEventLoop":
    """Where all answers are waited for: so that a run which is ended ends at once."""
    import asyncio

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="objects", daemon=True).start()
    return loop


def _open(settings: RemoteSettings, times: "ClientConfig") -> "ObjectStore":
    from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

    if settings.scheme == "file":
        folder = Path(unquote(urlsplit(settings.url).path))
        return LocalStore(folder, mkdir=settings.writes)
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
    """Why S3 may not answer in time: without credentials a server of the provider is asked for some."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    if not url.startswith("s3:") or any(os.environ.get(name) for name in names):
        return ""
    return " (and there are no credentials: AWS_ACCESS_KEY_ID is not set)"


class _explained:  # noqa: N801 # used as a statement
    """What obstore raises, as RemoteFailure with a reason for people; FileNotFoundError passes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(
            error, FileNotFoundError | RemoteFailure | BuildsysError
        ):
            raise RemoteFailure(_explain(error)) from error


def _explain(error: Exception) -> str:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    for sign, reason in _REASONS:
        if sign in text:
            return reason
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "the server refuses the credentials"
    return shorten(text.partition("\n")[0], 200)
