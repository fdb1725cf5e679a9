"""Unpacking archives that strangers packed: nothing outside the folder, nothing without a bound.

Everything goes into a folder beside the target first; a kill leaves that folder (hidden, its name
ends with `.partial`) and never half a target.
"""

import errno
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from pathlib import Path
from typing import IO

from buildsys.errors import Diagnostic, InputError, shorten
from buildsys.execution.store.archive_members import DAMAGED, Refused, members

_FREE = 1_000_000_000
_RATIO = 200
_MOST_BYTES = 200_000_000_000
_MOST_IN_ONE = 50_000_000_000
_MOST_MEMBERS = 5_000_000
_LEAST = 512
"""What a member counts at least: millions of empty ones are a bomb as well."""
_CHUNK = 1 << 20
_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}


def unpack(archive: Path, target: Path, label: str = "") -> None:
    """Unpack a .zip or .tar (plain, .gz, .xz, .bz2) into the new folder `target`.

    Raises InputError naming the archive (as `label`, else its path) and the member that is wrong;
    FileExistsError when `target` is there already.
    """
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = Path(tempfile.mkdtemp(".partial", f".{target.name}.", target.parent))
        try:
            content = holder / "content"
            content.mkdir()  # with the usual mode: mkdtemp's own folder is private
            _fill(content, archive)
            content.rename(target)
        finally:
            shutil.rmtree(holder, ignore_errors=True)
    except Refused as error:
        raise _input_error(label or str(archive), str(error), error.hint) from error
    except (*DAMAGED, MemoryError) as error:
        raise _input_error(
            label or str(archive), _damage(error), "fetch or pack it again"
        ) from error
    except OSError as error:
        raise _input_error(label or str(archive), *_trouble(error)) from error


def _input_error(label: str, message: str, hint: str) -> InputError:
    return InputError(Diagnostic(path=label, message=message, hint=hint))


def _damage(error: BaseException) -> str:
    words = str(error).splitlines()[0].strip().rstrip(".") if str(error).strip() else ""
    return f"the archive is damaged or cut off{f' ({words[:100]})' if words else ''}"


def _trouble(error: OSError) -> tuple[str, str]:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full before all of it is unpacked", "make room and run again"
    if error.errno is None:  # gzip and bz2 raise plain OSError for bytes that are not theirs
        return _damage(error), "fetch or pack it again"
    return f"it cannot be unpacked: {error.strerror}", ""


def _fill(folder: Path, archive: Path) -> None:
    found = archive.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Refused("this is no file")
    packed = found.st_size
    bound = min(_MOST_BYTES, max(_FREE, _RATIO * packed))
    names = _Names()
    total = files = 0
    for member in members(archive, bound):
        parts = _parts(member.name)
        if not parts or _is_junk(parts):
            continue
        names.add(parts, is_folder=member.stream is None)
        total += max(member.size, _LEAST)
        if total > bound or member.size > _MOST_IN_ONE or names.count > _MOST_MEMBERS:
            raise _bomb(member.name, packed)
        path = folder.joinpath(*parts)
        (path if member.stream is None else path.parent).mkdir(parents=True, exist_ok=True)
        if member.stream is not None:
            files += 1
            with path.open("xb") as out:
                written = _copy(member.stream, out)
            if written != member.size:
                raise EOFError(f"{member.name} ends early")
    if not files:
        raise Refused("the archive holds no file")


def _copy(stream: IO[bytes], out: IO[bytes]) -> int:
    written = 0
    while chunk := stream.read(_CHUNK):
        written += out.write(chunk)
    return written


def _bomb(name: str, packed: int) -> Refused:
    return Refused(
        f"`{shorten(name)}`: with it, {packed / 1e6:.3g} MB of archive unpack to more than anyone wants",
        f"at most {_RATIO} times its size (1 GB is always allowed), {_MOST_BYTES // 10**9} GB in all,"
        f" {_MOST_IN_ONE // 10**9} GB a file, {_MOST_MEMBERS} files",
    )


def _parts(name: str) -> tuple[str, ...]:
    """The name as folders and a file below the target; raises Refused where it is anything else."""
    shown = f"`{shorten(name)}`"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise Refused(f"{shown} is an absolute path", "pack the data with relative paths")
    if "\\" in name:
        raise Refused(f"{shown} has a backslash in its name", "pack it with forward slashes")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise Refused(f"{shown} has a control character in its name or is not UTF-8")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise Refused(f"{shown} leads out of the archive's folder", "pack it without `..`")
    if any(len(part.encode()) > 255 for part in parts) or len(name.encode()) > 3000:
        raise Refused(f"{shown} is too long a name")
    return parts


def _is_junk(parts: tuple[str, ...]) -> bool:
    """What macOS and Windows put beside the files that one meant to pack."""
    return not _JUNK.isdisjoint(parts) or parts[-1].startswith("._")


class _Names:
    """The names so far, as a file system sees them that knows neither case nor normal form."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    @property
    def count(self) -> int:
        """How many files and folders there are."""
        return len(self._seen)

    def add(self, parts: tuple[str, ...], is_folder: bool) -> None:
        """Take note of a member and the folders above it; raises Refused where two would be one."""
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            now = (path, is_folder or end < len(parts))
            key = path.lower() if path.isascii() else _fold(path)
            before = self._seen.get(key)
            if before is None:
                self._seen[key] = now
            elif before != now or not now[1]:
                raise _collision(before[0], path)


def _collision(first: str, second: str) -> Refused:
    if first == second:
        return Refused(f"`{shorten(first)}` is in it twice", "pack every file once")
    what = f"`{shorten(first)}` and `{shorten(second)}`"
    return Refused(f"{what} are one name on some file systems", "rename one of them")


def _fold(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
