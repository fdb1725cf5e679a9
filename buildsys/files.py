"""Writes files completely or not at all and durably, and compares them by stat."""

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO

from buildsys.errors import CannotWrite, InputError, shorten
from buildsys.operating_system import sync_disk, sync_file


def make_durable(paths: Iterable[Path]) -> None:
    """Return when these files' content, and the names in these folders, would survive a power cut.

    Links, and what is missing or may not be read, are skipped. Raises OSError for a failing disk.
    Many files on one disk are synced with everything else on it, at once.
    """
    wanted = list(paths)
    if len(wanted) > _MANY and sync_disk(wanted):
        return
    for place, path in enumerate(wanted, start=1):
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            sync_file(number, last=place == len(wanted))
        finally:
            os.close(number)


_MANY = 32
"""With at least this many files, one syncfs is cheaper than a fsync for each: on a consumer disk a
fsync takes a millisecond or more, even without anything left to write.
"""


def make_tree_durable(folder: Path) -> None:
    """Apply `make_durable` to a folder and everything below it; links are not followed."""
    make_durable(
        [
            path
            for place, _, names in os.walk(folder, topdown=False)
            for path in (*(Path(place, name) for name in names), Path(place))
        ]
    )


def open_regular(path: Path | str, follow: bool = False) -> IO[bytes]:
    """Open a file for reading.

    Raises OSError: EINVAL for a pipe or a device, ELOOP for a link, except with `follow`.
    """
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", str(path))
        return open(number, "rb")
    except BaseException:
        os.close(number)
        raise


TEMPORARY = ".tmp-"
"""Prefix of the names of unfinished files."""


@contextlib.contextmanager
def temporary_file(folder: Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a new empty file in `folder`; if it still exists at the end, it is removed.

    `mode`: its permissions, less the umask; files of `tempfile` are private, but other users may
    share the folder.
    """
    path = folder / f"{TEMPORARY}{os.urandom(8).hex()}"
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it, with its mode, when the block
    succeeds.

    After a power cut, `path` is then old or new and never empty; a file that can be made again need
    not be `durable`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path.parent) as temporary:
        yield temporary
        with contextlib.suppress(OSError):  # a new file, or another user's
            temporary.chmod(path.stat().st_mode & 0o7777)
        if durable:
            make_durable([temporary])
        temporary.replace(path)
        if durable:
            make_durable([path.parent])


def read_regular(path: Path | str) -> bytes:
    """Return the content of a regular file.

    Raises OSError, also for other files: reading a FIFO blocks.
    """
    with open_regular(path, follow=True) as stream:
        return stream.read()


LED_OUT = "this is a symbolic link that leads out of the workspace", "replace it by the file"
"""The message for such a file and its hint. Its content is not quoted: others read logs."""


def leads_out(path: Path, label: str) -> bool:
    """Return whether links on the way to a file leave the folder that its name `label` starts
    at.
    """
    parts = PurePath(label).parts
    if (
        not parts
        or ".." in parts
        or PurePath(label).is_absolute()
        or path.parts[-len(parts) :] != parts
    ):
        return False
    root = os.path.realpath(path.parents[len(parts) - 1])
    return not os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep)


_MOST_BYTES = 1 << 20
"""Bytes: the most of a file that a person writes."""


def read_written(path: Path, label: str) -> bytes:
    """Return the content of a file that a person wrote; `label` is its name in messages.

    Raises InputError for a file that is not regular, too large, or behind a link out of the
    workspace, since it may have come with a commit.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe or a device may never end
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
            raise InputError.at(label, f"this is {what}, not a file")
        if leads_out(path, label):
            raise InputError.at(label, *LED_OUT)
        if found.st_size > _MOST_BYTES:
            message = f"the file has {found.st_size / 1e6:.1f} MB; expected a few kilobytes"
            hint = "put data into separate files, and name them here"
            raise InputError.at(label, message, hint)
        return read_regular(path)
    except OSError as error:
        raise InputError.at(label, f"cannot be read: {error.strerror}") from error


def write_atomic(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file (text as UTF-8): readers find the old content or the new. Raises OSError.

    `durable`: see `replacing`.
    """
    with replacing(path, durable) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_new(path: Path, content: str, mode: int = 0o666) -> None:
    """Write a new file, completely or not at all; its folder is created if missing.

    `mode`: its permissions, less the umask. Raises FileExistsError if the name exists, also as a
    link to nowhere; OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with temporary_file(path.parent, mode) as temporary:
        temporary.write_text(content, encoding="utf-8")
        make_durable([temporary])
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if path.exists() or path.is_symlink():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.rename(path)


def refuse_links(root: Path, path: Path) -> None:
    """Raise CannotWrite if `path`, or a folder between it and `root`, is a symbolic link.

    For places in a folder that others commit to: a link can lead anywhere, and a user's own link
    cannot be distinguished from one that came with a commit.
    """
    place = os.fspath(root)
    for part in path.relative_to(root).parts:
        place = os.path.join(place, part)
        if os.path.islink(place):
            shown, leads = shorten(os.path.relpath(place, root)), shorten(os.readlink(place))
            raise CannotWrite(
                f"{shown} is a symbolic link to {leads}: buildsys does not write or remove through a"
                " link, because it may have come with a commit. Remove the link; for more room mount"
                " a disk in its place, or move the store, which takes most of it (BUILDSYS_STORE)."
            )


DEEPEST = 100
"""The deepest nesting of folders that is accepted: Python handles about 900, a path of Linux (4,096
bytes) about 2,000.
"""
_FLAT = 8
"""At this depth, names of 255 bytes still make a valid path on Linux."""


def remove_tree(folder: Path) -> None:
    """Remove a folder of any depth; what cannot be removed stays, without an error."""
    with contextlib.suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.is_dir() and not folder.is_symlink():
        with contextlib.suppress(OSError):
            _flatten(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(folder: Path) -> None:
    """Move folders up into this one until none is deeper than `_FLAT`. Raises OSError."""
    pending = [(str(folder), 0)]
    while pending:
        place, depth = pending.pop()
        with os.scandir(place) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in below:
            if depth == _FLAT:
                raised = os.path.join(folder, f"{TEMPORARY}{os.urandom(8).hex()}")
                os.rename(path, raised)
                pending.append((raised, 1))
            else:
                pending.append((path, depth + 1))


def is_deep(folder: Path) -> bool:
    """Return whether a folder contains folders deeper than `DEEPEST` or than the system's paths."""
    pending = [(str(folder), 0)]
    while pending:
        place, depth = pending.pop()
        if depth > DEEPEST:
            return True
        try:
            with os.scandir(place) as entries:
                below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return True
            continue
        pending += [(path, depth + 1) for path in below]
    return False


def remove_folder(folder: Path) -> None:
    """Remove a folder, first its name, then its content; also removes anything else of that
    name.
    """
    if os.path.lexists(folder):
        old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
        folder.rename(old)
        if old.is_dir() and not old.is_symlink():
            remove_tree(old)
        else:  # rmtree would block on a pipe
            old.unlink(missing_ok=True)


def free_name(path: Path) -> Path:
    """Return `path`, or `path` with the first unused number after it."""
    free, number = path, 1
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def replace_folder(fresh: Path, target: Path) -> None:
    """Move `fresh`, a folder on the same disk, to `target`, replacing what is there."""
    remove_folder(target)
    fresh.rename(target)


def stat_text(path: str) -> str:
    """Return a text that changes whenever the file's content may have; for a folder, whether it
    exists.
    """
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return "absent"
    if stat.S_ISDIR(found.st_mode):
        return f"folder {found.st_ino}"
    return stat_line(found)


def stat_line(found: os.stat_result) -> str:
    """Return `stat_text` for an existing stat."""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ino} {found.st_ctime_ns}"


_RECENT_NS = 50_000_000
"""Longer than a tick of any file system's clock."""


def may_change_again(stat_text: str, since: int | None = None) -> bool:
    """Return whether a file may change after it was read without another `stat_text`: in the tick
    of the file system's clock in which it changed before.

    `since`: `next_file_tick_ns` before the reading; None: the file is read now. Only the change
    time is compared: a modification time can be set to the future. A change time in the future
    means that the clock was set back; the next change has another time.
    """
    words, now = stat_text.split(" "), time.time_ns()
    if len(words) != 4:
        return False
    return (now - _RECENT_NS if since is None else since) <= int(words[3]) < now + _RECENT_NS


def misnamed_yaml_files(folder: Path) -> list[str]:
    """Return the names of files in a folder that `yaml_files` leaves out because of their ending."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []
    endings = (".yml", ".yaml")
    found = (name for name in names if name.lower().endswith(endings) and name[0] != ".")
    return [name for name in found if not name.endswith(".yaml")]


def yaml_files(folder: Path) -> dict[str, Path]:
    """Return the files that end in .yaml by their stem, sorted; without hidden ones, which macOS
    and editors write.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return {}
    found = (name for name in names if name.endswith(".yaml") and not name.startswith("."))
    return {name.removesuffix(".yaml"): folder / name for name in found}
