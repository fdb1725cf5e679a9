"""A remote store in a folder: its objects are regular files, and other content is ignored.

Links below the folder are not followed, and only regular files are opened: other users may write
there.
"""

import contextlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.files import TEMPORARY
from buildsys.remote_settings import RemoteSettings

_CHUNK = 1 << 20
_PROBE_SECONDS = 3.0
_LEFTOVER = re.compile(
    rf"(?:(?:actions|blobs)/[0-9a-f]{{2}}/)?(?:{re.escape(TEMPORARY)}[0-9a-f]{{16}}|[^/]+#[0-9]+)"
)


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An object in a listing: its size in bytes, and its last change in seconds since 1970."""

    name: str
    size: int
    changed: float


def is_leftover(name: str) -> bool:
    """Return whether a file belongs to an unfinished transfer, of this release or an earlier
    one.
    """
    return _LEFTOVER.fullmatch(name) is not None


class FolderObjects:
    """The objects in a folder, with the methods of `Objects`."""

    def __init__(self, settings: RemoteSettings) -> None:
        """Raise RemoteFailure if the folder does not exist."""
        self.url = settings.url
        self.print_line: Callable[[str], None] = lambda _: None
        """Unused here: no answer is waited for."""
        self._root = Path(unquote(urlsplit(settings.url).path))
        self._makes = settings.writes
        self._stopped = False

    def probe(self) -> None:
        """Return when the folder can be read; a network folder may block forever."""
        failures: list[OSError] = []

        def look() -> None:
            try:
                if self._makes:
                    self._root.mkdir(parents=True, exist_ok=True)
                with os.scandir(self._root):
                    return
            except OSError as error:
                failures.append(error)

        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        looking.join(_PROBE_SECONDS)
        if looking.is_alive():
            raise RemoteFailure(f"it does not answer within {_PROBE_SECONDS:g} s")
        if failures and isinstance(failures[0], FileNotFoundError | NotADirectoryError):
            raise RemoteFailure("the folder does not exist") from failures[0]
        with _explained():
            for error in failures:
                raise error

    def size(self, name: str) -> int | None:
        """Return the size of an object in bytes; None if it is absent."""
        try:
            with self._opened(name) as number:
                return os.fstat(number).st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, most: int) -> bytes | None:
        """Return an object's bytes; None if it is absent or longer than `most` bytes."""
        data = bytearray()
        with contextlib.suppress(FileNotFoundError):
            for chunk in self.stream(name):
                data += chunk
                if len(data) > most:
                    return None
            return bytes(data)
        return None

    def stream(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of an object. Raises FileNotFoundError if it is absent."""
        with self._opened(name) as number:
            left = os.fstat(number).st_size  # the file may grow meanwhile
            while left > 0:
                self._check_going_on()
                with _explained():
                    chunk = os.read(number, min(left, _CHUNK))
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""
        self._write(name, iter((data,)))

    def write_file(self, name: str, path: Path) -> None:
        """Write a file as an object, which exists only when it is complete."""
        with path.open("rb") as file:
            self._write(name, iter(lambda: file.read(_CHUNK), b""))

    def stop(self) -> None:
        """Start no more transfers; those under way end with an error, without an object."""
        self._stopped = True

    def list(self, prefix: str) -> Iterator[Listed]:
        """Yield every regular file below a prefix; links below it are left out."""
        top = self._root / prefix
        if any(each.is_symlink() for each in (top, *top.parents[: prefix.count("/")])):
            raise RemoteFailure(f"its folder {prefix} is a symbolic link")
        with _explained():
            for place, _, names in os.walk(top, onerror=_raise):
                folder = Path(place).relative_to(self._root).as_posix()
                for name in names:
                    self._check_going_on()
                    with contextlib.suppress(FileNotFoundError):
                        found = os.lstat(os.path.join(place, name))
                        if stat.S_ISREG(found.st_mode):
                            path, size, changed = f"{folder}/{name}", found.st_size, found.st_mtime
                            yield Listed(name=path, size=size, changed=changed)

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; absent ones are ignored."""
        for name in names:
            self._check_going_on()
            with contextlib.suppress(FileNotFoundError), self._folder(name) as (folder, last):
                os.unlink(last, dir_fd=folder)

    def _write(self, name: str, chunks: Iterator[bytes]) -> None:
        try:
            self._replace(name, chunks)
        except FileNotFoundError as error:
            raise RemoteFailure("its folder was removed during the transfer") from error

    def _replace(self, name: str, chunks: Iterator[bytes]) -> None:
        with self._folder(name, make=True) as (folder, last):
            temporary = f"{TEMPORARY}{os.urandom(8).hex()}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(temporary, flags, 0o666, dir_fd=folder), "wb") as file:
                try:
                    for chunk in chunks:
                        self._check_going_on()
                        file.write(chunk)
                    file.close()
                    os.replace(temporary, last, src_dir_fd=folder, dst_dir_fd=folder)
                except BaseException:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=folder)
                    raise

    def _check_going_on(self) -> None:
        if self._stopped:
            raise RemoteFailure("it was cancelled")

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        """Open a regular file for reading; anything else counts as absent."""
        with self._folder(name) as (folder, last):
            flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
            try:
                number = os.open(last, flags, dir_fd=folder)
            except OSError as error:
                if stat.S_ISREG(os.lstat(last, dir_fd=folder).st_mode):
                    raise
                raise FileNotFoundError(name) from error
        try:
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise FileNotFoundError(name)
            yield number
        finally:
            os.close(number)

    @contextlib.contextmanager
    def _folder(self, name: str, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that contains an object; yields it and the object's name there.

        Raises FileNotFoundError if it is absent; RemoteFailure where it is to be made (`make`) and
        a link is in its place.
        """
        *folders, last = name.split("/")
        flags = os.O_RDONLY | os.O_DIRECTORY
        with _explained(), contextlib.ExitStack() as held:
            number = os.open(self._root, flags)
            held.callback(os.close, number)
            for count, part in enumerate(folders, start=1):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=number)
                try:
                    number = os.open(part, flags | os.O_NOFOLLOW, dir_fd=number)
                except OSError as error:
                    if stat.S_ISDIR(os.lstat(part, dir_fd=number).st_mode):
                        raise
                    if not make:
                        raise FileNotFoundError(name) from error
                    place = "/".join(folders[:count])
                    raise RemoteFailure(f"its folder {place} is a link or not a folder") from error
                held.callback(os.close, number)
            yield number, last


def _raise(error: OSError) -> None:
    """Ignore folders that are gone; raise for folders that cannot be listed."""
    if not isinstance(error, FileNotFoundError):
        raise error


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn the system's errors into RemoteFailure, except FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RemoteFailure(error.strerror or str(error)) from error
