"""What this program does on SIGTERM, Ctrl-C and a closed terminal: nothing that it started stays."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from buildsys.execution import children

_SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_files: set[Path] = set()


def remove_on_signals(file: Path) -> None:
    """Remove this file, such as a private key of this process, when a signal ends buildsys."""
    _files.add(file)


_KEPT = "finished steps are kept; the next run makes the others"


def _no_details() -> str:
    return ""


def end_on_signals(
    finish: Callable[[], None],
    left: Callable[[], str] = lambda: _KEPT,
    details: Callable[[], str] = _no_details,
) -> None:
    """On SIGTERM, SIGINT and SIGHUP: kill the children, call `finish`, then exit.

    `left`: returns what remains of the work, for the message; `details`: returns lines below it,
    once nothing runs any more. No function may take a lock: another thread, or the interrupted code
    itself, may hold it.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        text = left()
        children.end_all()
        for file in tuple(_files):
            with contextlib.suppress(OSError):
                file.unlink()
        with contextlib.suppress(Exception):
            finish()
        with contextlib.suppress(Exception):
            text = "\n".join(filter(None, (text, details())))
        with contextlib.suppress(OSError):
            error = _last_words()
            if os.isatty(error):
                os.write(error, _SHOW_CURSOR)  # the live display hides it
            os.write(error, f"\ninterrupted: {text}\n".encode())
        os._exit(128 + number)

    for each in _SIGNALS:
        if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN:  # nohup
            signal.signal(each, handle)


def _last_words() -> int:
    """Return a descriptor of stderr that other threads do not have: what they print from now on, such
    as the beginning of another step, goes nowhere, and the message stays the last one. If too many
    files are open, it is stderr itself: the message matters more than its place.
    """
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        ours = os.dup(2)
        os.dup2(nowhere, 2)
    except OSError:
        return 2
    return ours


@contextlib.contextmanager
def undone_on_signals(undo: Callable[[], None]) -> Iterator[None]:
    """Use `end_on_signals` in a block whose work is all or nothing: `undo` removes the partial
    work.
    """
    before = [(each, signal.getsignal(each)) for each in _SIGNALS]
    end_on_signals(undo, lambda: "nothing was changed")
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)
