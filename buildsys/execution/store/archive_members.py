"""What an archive holds, one member after the other, as far as it is plain files and folders.

The kind of an archive is read from its first bytes, so that a downloaded file may have any name.
"""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from buildsys.errors import shorten

_LONGEST_HEADER = 1 << 20
_CHUNK = 1 << 24

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    IndexError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What the readers raise on bytes that are no archive, or no longer one."""


class Refused(Exception):
    """Something in the archive that is not unpacked, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry, readable until the next one is asked for; a folder has no stream."""

    name: str
    size: int
    stream: IO[bytes] | None


_COMPRESSED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"BZh", bz2.BZ2File),
)


def members(archive: Path, bound: int) -> Iterator[Member]:
    """Every member in the archive's order; at most some `bound` bytes come out of a tar stream.

    Raises Refused for what is no plain file or folder, one of DAMAGED for broken bytes, OSError.
    """
    with archive.open("rb") as file:
        start = file.read(265)
        file.seek(0)
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _zip_members(file)
            return
        openers = [opener for magic, opener in _COMPRESSED if start.startswith(magic)]
        if not openers and start[257:262] != b"ustar":
            message = "this is neither a zip nor a tar archive"
            raise Refused(message, ".zip, .tar, .tar.gz, .tar.xz and .tar.bz2 are unpacked")
        yield from _tar_members(openers[0](file) if openers else file, bound)


def _zip_members(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.orig_filename
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _no_file(name, is_link=kind == stat.S_IFLNK)
            if info.flag_bits & 0x1:
                raise Refused(f"`{shorten(name)}` is encrypted", "pack it without a password")
            if name.endswith("/"):
                yield Member(name=name, size=0, stream=None)
                continue
            with archive.open(info) as stream:
                yield Member(name=name, size=info.file_size, stream=stream)


def _tar_members(raw: Any, bound: int) -> Iterator[Member]:
    stream = cast("IO[bytes]", _Counted(raw, 2 * bound))
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        while info := archive.next():
            archive.members = []  # type: ignore[attr-defined] # it would keep them all
            if info.isdir():
                yield Member(name=info.name, size=0, stream=None)
                continue
            # a sparse file's size is a claim, not bytes in the archive
            if not info.isreg() or info.issparse() or info.size < 0:
                raise _no_file(info.name, is_link=info.issym() or info.islnk())
            yield Member(name=info.name, size=info.size, stream=archive.extractfile(info))
    while stream.read(_CHUNK):
        pass  # the checksum stands at the end


def _no_file(name: str, is_link: bool) -> Refused:
    what = "a link" if is_link else "neither a file nor a folder"
    return Refused(f"`{shorten(name)}` is {what}", "pack plain files only")


class _Counted:
    """A stream that ends in an error when more comes out of it than anyone wants."""

    def __init__(self, raw: IO[bytes], bound: int) -> None:
        self._raw, self._left = raw, bound

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data = self._raw.read(min(size, _CHUNK) if size >= 0 else _CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise Refused("its headers alone unpack to more than anyone wants")
        return data


_HEADERS = (b"L", b"K", b"x", b"g", b"X")
"""Types of entries that tell of the next one: long names, extended headers."""


class _Header(tarfile.TarInfo):
    """A header that is not read into memory when it is long, and whose damage is no end of file."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """As tarfile does; a header of a header has a bound."""
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or (found.type in _HEADERS and found.size > _LONGEST_HEADER):
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        return found

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """As tarfile does; where it takes a broken header for the end, this is an error."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "a header is missing") from error
