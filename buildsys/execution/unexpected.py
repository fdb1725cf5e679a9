"""Reports an unexpected error as a sentence; its traceback goes to a log."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.errors import UNEXPECTED_ERROR, InternalError, shorten
from buildsys.execution.places import Workspace, cache_root
from buildsys.write_errors import too_many_files

UNEXPECTED = (Exception, SystemExit)
"""Exceptions that any code can raise unexpectedly; a library may also ask to exit."""
_LAST_LINES = 12
_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Found:
    """The parts of a report.

    `place`: where the traceback is, or the end of the traceback itself.
    """

    message: str
    place: str
    way_out: str


def explain(error: BaseException, doing: str, root: Path | None) -> str:
    """Return what happened while `doing` something, where the traceback is, and what to do.

    `root`: the workspace; the log goes to its .buildsys/logs, or else to the user's cache. Where
    neither can be written, the text contains the end of the traceback.
    """
    found = find(error, doing, root)
    lines = [*found.place.splitlines(), found.way_out]
    return f"{UNEXPECTED_ERROR} while {found.message}\n" + "\n".join(
        f"    {each}" for each in lines
    )


def find(error: BaseException, doing: str, root: Path | None) -> Found:
    """Write the log and return the parts of `explain`."""
    text = _traceback(error)
    log = _write(text, root)
    place = f"traceback: {log}" if log else "\n".join(text.splitlines()[-_LAST_LINES:])
    return Found(message=f"{doing}: {_reason(error)}", place=place, way_out=_way_out(error))


def _reason(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"a library asked to exit (code {error.code})"
    if isinstance(error, OSError) and error.strerror:
        place = f": {os.fspath(error.filename)!s}" if error.filename is not None else ""
        return shorten(f"{error.strerror}{place}", 300)
    try:
        text = str(error).strip().splitlines()
    except UNEXPECTED:
        text = []
    kind = "" if isinstance(error, InternalError) else type(error).__name__
    return shorten(": ".join(filter(None, (kind, text[0] if text else ""))), 300)


def _way_out(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "this machine is out of memory: end other programs, or build with `-n 1`"
    if isinstance(error, OSError):
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return too_many_files()
        return "check what the message names, then run again"
    return "this is a bug in buildsys: please report it with the traceback"


def _traceback(error: BaseException) -> str:
    import platform
    import traceback

    from buildsys import __version__

    try:
        lines = "".join(traceback.format_exception(error))
    except UNEXPECTED:  # an exception whose text cannot be formatted
        lines = "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__ + "\n"
    system = f"buildsys {__version__}, Python {platform.python_version()}, {platform.platform()}"
    return f"{system}\n{' '.join(map(repr, sys.argv))}\nin {_current_folder()}\n\n{lines}"


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was deleted
        return "a folder that was removed"


def _write(text: str, root: Path | None) -> str:
    """Write the log and return its path for a message; empty where no folder is writable.

    Equal tracebacks have equal names: an error that occurs a thousand times writes one file.
    """
    name = f"error-{digest_bytes(text.encode(errors='replace'))[:_DIGITS]}.log"
    for folder in _folders(root):
        path = folder / name
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(path, flags, 0o666), "wb") as stream:
                stream.write(text.encode(errors="replace"))
            return (
                os.path.relpath(path, root) if root and folder.is_relative_to(root) else str(path)
            )
    return ""


def _folders(root: Path | None) -> Iterable[Path]:
    """Yield folders for a log; a symbolic link or another user's folder is never used."""
    if root is not None:
        workspace = Workspace(root)
        known = os.path.isdir(workspace.state) or workspace.has_recipes
        if known and not (os.path.islink(workspace.state) or os.path.islink(workspace.logs)):
            with contextlib.suppress(*UNEXPECTED):  # reported elsewhere
                workspace.check_own()
            yield workspace.logs
    with contextlib.suppress(*UNEXPECTED):  # no home directory: `cache_root` reports it elsewhere
        yield cache_root() / "logs"
