"""A remote store's objects by name, through obstore: nothing else here knows that library.

Objects are read in one stream that may pause, but not for long, and written in parts, so that a slow
line is no error. Nothing rests on conditional writes: some servers overwrite silently.
"""

import contextlib
import datetime as dt
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote, urlsplit

from buildsys.errors import BuildsysError, shorten
from buildsys.remote_settings import RemoteSettings

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

T = TypeVar("T")
PROBE_SECONDS = 3.0
_CONNECT, _PAUSE, _PART = "3s", "20s", "120s"
"""How long a connection may take, a server may be silent while it sends, one part of a file may take."""
_ADDRESSES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_ENDPOINT")
"""Variables of the providers that say where the server is."""
_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 2
_READ_CHUNK = 1 << 20
_MISSING_LIBRARY = (
    "a remote store needs obstore, which is not installed: `pip install 'buildsys[remote]'`"
)
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


class RemoteFailure(Exception):
    """A remote store did not do what it was asked to; the text says why."""


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
        try:
            import obstore
        except ImportError as error:
            raise BuildsysError(_MISSING_LIBRARY) from error
        self._library = obstore
        with _told():
            self._reading = _open(settings, {"timeout": "12h", "read_timeout": _PAUSE})
            self._writing = _open(settings, {"timeout": _PART})

    def probe(self, seconds: float = PROBE_SECONDS) -> None:
        """Ask for anything at all; returns when the server has answered, within `seconds`.

        http has no listing: there the object that marks a remote store is asked for, see `read`.
        """
        answers: list[RemoteFailure | None] = []

        def ask() -> None:
            try:
                if self.url.startswith("http"):
                    self.size("buildsys-remote.json")
                else:
                    with _told():
                        self._library.list_with_delimiter(self._reading)
                answers.append(None)
            except RemoteFailure as failure:
                answers.append(failure)

        # a daemon: neither a name server nor a search for credentials can be called off
        asking = threading.Thread(target=ask, name="probe", daemon=True)
        asking.start()
        asking.join(seconds)
        if not answers:
            raise RemoteFailure(f"it does not answer within {seconds:g} s")
        if answers[0] is not None:
            raise answers[0]

    def size(self, name: str) -> int | None:
        """Bytes of an object; None where there is none."""
        with _told():
            found = _or_none(lambda: self._library.head(self._reading, name))
        return None if found is None else found["size"]

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
        with _told():
            answer = self._library.get(self._reading, name)
            chunks = iter(answer.stream(min_chunk_size=_READ_CHUNK))
        while True:
            with _told():
                try:
                    chunk = bytes(next(chunks))
                except StopIteration:
                    return
            yield chunk

    def write(self, name: str, data: bytes) -> None:
        """Put a small object."""
        with _told():
            self._library.put(self._writing, name, data, use_multipart=False)

    def write_file(self, name: str, path: Path) -> None:
        """Put a file; a large one goes in parts, and is there when the last has come."""
        with _told():
            if path.stat().st_size <= _PART_BYTES:
                self._library.put(self._writing, name, path.read_bytes(), use_multipart=False)
            else:
                self._library.put(
                    self._writing,
                    name,
                    self._parts(path),
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_AT_ONCE,
                )

    def stop(self) -> None:
        """Large files that are being put there end with the part that is under way, and are not there."""
        self._stopped = True

    def _parts(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as file:
            while part := file.read(_PART_BYTES):
                if self._stopped:
                    raise RemoteFailure("it was not put there to its end")
                yield part

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object below a prefix; the server may send any name."""
        with _told():
            pages = iter(self._library.list(self._reading, prefix, chunk_size=1000))
        while True:
            with _told():
                try:
                    page = next(pages)
                except StopIteration:
                    return
            for each in page:
                changed = each["last_modified"].timestamp()
                yield Listed(name=each["path"], size=each["size"], changed=changed)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        with _told():
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    self._library.delete(self._writing, name)


def _or_none(ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error) or "bucket does not exist" in str(error):
            raise RemoteFailure("there is no such bucket") from error
        return None


def _open(settings: RemoteSettings, times: "ClientConfig") -> "ObjectStore":
    from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, S3Store

    if settings.scheme == "file":
        folder = Path(unquote(urlsplit(settings.url).path))
        return LocalStore(folder, mkdir=settings.writes)
    options: ClientConfig = {"connect_timeout": _CONNECT, **times}
    addresses = (settings.url, settings.endpoint, *(os.environ.get(n, "") for n in _ADDRESSES))
    if any(address.startswith("http:") for address in addresses):
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


class _told:  # noqa: N801 # used as a statement
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
