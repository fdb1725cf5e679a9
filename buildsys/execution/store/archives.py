"""Unpacks archives from elsewhere: writes only inside the target folder, with limits on everything.

The type of an archive is read from its first bytes, so a downloaded file may have any name. Members
are first unpacked into a folder beside the target; a killed run leaves that hidden folder, whose
name ends with `.partial`, and never half a target.
"""

import bz2
import errno
import gzip
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self, cast

from buildsys.errors import InputError, shorten
from buildsys.execution.store.tree_index import Tree, TreeFile
from buildsys.files import open_regular
from buildsys.names import BadName, NameSet, check_relative_name, is_junk

_FREE = 1_000_000_000
_RATIO = 200
_MOST_BYTES = 200_000_000_000
_MOST_IN_ONE = 50_000_000_000
_MOST_MEMBERS = 5_000_000
_LEAST = 512
"""The least that a member counts in bytes: millions of empty members are a bomb as well."""
_COPY_CHUNK = 1 << 20
_LONGEST_HEADER = 1 << 20
_STREAM_CHUNK = 1 << 24
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
"""What the readers raise for bytes that are not an archive, or are damaged."""


class Refused(Exception):
    """A part of the archive that is not unpacked, and what to do about it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Member:
    """One entry, readable until the next one is requested; a folder has no stream."""

    name: str
    size: int
    stream: IO[bytes] | None


def unpack(archive: Path, target: Path, label: str = "") -> Tree:
    """Call `unpack_stream` for a file; `label`: its name in messages, otherwise its path."""
    label = label or str(archive)
    try:
        stream = open_regular(archive, follow=True)
    except OSError as error:
        is_other = error.errno == errno.EINVAL
        trouble = ("this is not a regular file", "") if is_other else _trouble(error)
        raise InputError.at(label, *trouble) from error
    with stream:
        return unpack_stream(stream, target, label)


def unpack_stream(archive: IO[bytes], target: Path, label: str) -> Tree:
    """Unpack a .zip or .tar (plain, .gz, .xz, .bz2) into the new folder `target`.

    Returns its files. Raises InputError with the archive (as `label`) and the member that is wrong;
    FileExistsError if `target` exists.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(".partial", f".{target.name}.", target.parent))
        try:
            content = holder / "content"
            content.mkdir()  # with default permissions: mkdtemp's own folder is private
            tree = _fill(content, archive)
            content.rename(target)
            return tree
        finally:
            shutil.rmtree(holder, ignore_errors=True)
    except (Refused, BadName) as error:
        raise InputError.at(label, str(error), error.hint) from error
    except (*DAMAGED, MemoryError) as error:
        raise InputError.at(label, _damage(error), "fetch or pack it again") from error
    except OSError as error:
        raise InputError.at(label, *_trouble(error)) from error


def _damage(error: BaseException) -> str:
    words = str(error).splitlines()[0].strip().rstrip(".") if str(error).strip() else ""
    return f"the archive is damaged or cut off{f' ({words[:100]})' if words else ''}"


def _trouble(error: OSError) -> tuple[str, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk became full during unpacking", "make room and run again"
    if error.errno is None:  # gzip and bz2 raise a plain OSError for foreign bytes
        return _damage(error), "fetch or pack it again"
    return f"it cannot be unpacked: {error.strerror}", ""


def _fill(folder: Path, archive: IO[bytes]) -> Tree:
    packed = os.fstat(archive.fileno()).st_size
    bound = min(_MOST_BYTES, max(_FREE, _RATIO * packed))
    names = NameSet()
    total, files = 0, []
    for member in members(archive, bound):
        name = _plain(member.name)
        if not name:
            continue
        check_relative_name(name)
        if is_junk(name):
            continue
        names.add(name, is_folder=member.stream is None)
        total += max(member.size, _LEAST)
        if total > bound or member.size > _MOST_IN_ONE or len(names) > _MOST_MEMBERS:
            raise _bomb(member.name, packed)
        path = folder / name
        (path if member.stream is None else path.parent).mkdir(parents=True, exist_ok=True)
        if member.stream is not None:
            with path.open("xb") as out:
                size, digest = _copy(member.stream, out)
            if size != member.size:
                raise EOFError(f"{member.name} ends early")
            files.append(TreeFile(name, size, digest))
    if not files:
        raise Refused("the archive contains no files")
    return tuple(sorted(files))


def _copy(stream: IO[bytes], out: IO[bytes]) -> tuple[int, str]:
    """Copy a stream; returns the number of bytes and their digest."""
    written, state = 0, hashlib.sha256()
    while chunk := stream.read(_COPY_CHUNK):
        written += out.write(chunk)
        state.update(chunk)
    return written, state.hexdigest()


def _bomb(name: str, packed: int) -> Refused:
    return Refused(
        f"`{shorten(name)}`: with it, {packed / 1e6:.3g} MB of archive unpack to more than the limit",
        f"at most {_RATIO} times its size (1 GB is always allowed), {_MOST_BYTES // 10**9} GB in all,"
        f" {_MOST_IN_ONE // 10**9} GB a file, {_MOST_MEMBERS} files",
    )


def _plain(name: str) -> str:
    """Return a name without parts that have no meaning: `./`, double slashes, a folder's last
    slash.
    """
    if name.startswith("/"):
        return name
    return "/".join(part for part in name.split("/") if part not in ("", "."))


_COMPRESSED: tuple[tuple[bytes, Callable[[IO[bytes]], Any]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"BZh", bz2.BZ2File),
)


def members(file: IO[bytes], bound: int) -> Iterator[Member]:
    """Yield every member in the archive's order; a tar stream may expand to at most `bound` bytes.

    Raises Refused for anything but regular files and folders, one of DAMAGED for broken bytes,
    OSError.
    """
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


def _tar_members(raw: IO[bytes], bound: int) -> Iterator[Member]:
    stream = cast("IO[bytes]", _Counted(raw, 2 * bound))
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=BoundedHeader) as archive:
        while info := archive.next():
            archive.members = []  # type: ignore[attr-defined] # it would keep them all
            if info.isdir():
                yield Member(name=info.name, size=0, stream=None)
                continue
            # the size of a sparse file is a claim, not bytes in the archive
            if not info.isreg() or info.issparse() or info.size < 0:
                raise _no_file(info.name, is_link=info.issym() or info.islnk())
            yield Member(name=info.name, size=info.size, stream=archive.extractfile(info))
    while stream.read(_STREAM_CHUNK):
        pass  # the checksum is at the end


def _no_file(name: str, is_link: bool) -> Refused:
    what = "a link" if is_link else "neither a file nor a folder"
    return Refused(f"`{shorten(name)}` is {what}", "pack plain files only")


class _Counted:
    """A stream that fails when more than `bound` bytes come out of it."""

    def __init__(self, raw: IO[bytes], bound: int) -> None:
        self._raw, self._left = raw, bound

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        data = self._raw.read(min(size, _STREAM_CHUNK) if size >= 0 else _STREAM_CHUNK)
        self._left -= len(data)
        if self._left < 0:
            raise Refused("its headers alone exceed the limit")
        return data


_HEADERS = (b"L", b"K", b"x", b"g", b"X")

"""Types of entries that describe the next one: long names, extended headers."""


class BoundedHeader(tarfile.TarInfo):
    """A header with a bound on its size; a damaged one is an error instead of the end of the
    file.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Like tarfile's, with a bound on the size of a header's header."""
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or (found.type in _HEADERS and found.size > _LONGEST_HEADER):
            raise tarfile.ReadError(f"a header of {found.size} bytes")
        return found

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """Like tarfile's, but raises where tarfile takes a broken header for the end."""
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error) or "a header is missing") from error
