"""Child processes that end when buildsys ends, for whatever reason.

A child gets its own session: Ctrl-C reaches buildsys alone, and everything the child starts can be
ended as one group. A small shell beside it waits on a pipe whose other end only buildsys holds, and
kills that group when buildsys is gone: `kill -9` runs no handler, and a child may have died while
processes that it started are still running. The child starts only when that shell is running.
"""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from buildsys.operating_system import wait_for_exit

_WATCH = 'read -r _; kill -s KILL -- "-$0"'
_BEGIN = 'read -r _ && exec "$@" </dev/null'

_groups: set[int] = set()
_lock = threading.RLock()  # a signal handler may run while its own thread holds it
_ending = threading.Event()


class Cancellation:
    """Ends the children of one step, both running and future ones; other steps continue."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self._requested = False

    @property
    def requested(self) -> bool:
        """Return whether the step was cancelled; its exit code then means nothing."""
        return self._requested

    def request(self) -> None:
        """Kill the running children of the step and all that they started.

        Callable from any thread.
        """
        with _lock:
            self._requested = True
            for group in tuple(self._own):
                _end_group(group)

    def _include(self, group: int) -> None:
        with _lock:
            self._own.add(group)
            if self._requested:
                _end_group(group)

    def _leave(self, group: int) -> None:
        with _lock:  # before the child is reaped: its number may be reused after that
            self._own.discard(group)


@contextlib.contextmanager
def child(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    pass_fds: tuple[int, ...] = (),
    *,
    cwd: Path | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | int | None = None,
    cancellation: Cancellation | None = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process; when the block ends or is cancelled, every process of its group is killed.

    `cwd`, `stdout` and `stderr` are Popen's. BUILDSYS_PARENT_FD holds the child's end of the pipe.
    Raises OSError when the process cannot be started.
    """
    read, write = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _BEGIN, "sh", *arguments],
            env={**environment, "BUILDSYS_PARENT_FD": str(read)},
            pass_fds=(read, *pass_fds),
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd=cwd,
            stdout=stdout,
            stderr=stderr,
        )
        with _lock:
            _groups.add(process.pid)
        if cancellation is not None:
            cancellation._include(process.pid)
        watcher = None
        try:
            watcher = _watch(process.pid, read)
            _begin(process)
            yield process
        finally:
            _end_group(process.pid)
            if cancellation is not None:
                cancellation._leave(process.pid)
            if watcher is not None:
                watcher.kill()
                watcher.wait()
            process.wait()  # last: its number may be reused from here on
    finally:
        os.close(read)
        os.close(write)


def wait(process: "subprocess.Popen[bytes]") -> int:
    """Wait for a child and kill what it left running.

    Returns its exit code, or minus its signal.
    """
    wait_for_exit(process.pid)
    if _ending.is_set():  # the child was killed because we exit: the step has not failed
        threading.Event().wait()
    _end_group(process.pid)
    return process.wait()


def end_all() -> None:
    """Kill every running child with all that it started."""
    _ending.set()
    with _lock:
        for group in tuple(_groups):
            _end_group(group)


def _begin(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # killed already: its exit code shows it
        process.stdin.write(b"\n")
        process.stdin.close()


def _watch(group: int, pipe: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, str(group)],
        stdin=pipe,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _end_group(group: int) -> None:
    """End a group once, before the child is reaped: its number may be reused after that."""
    with _lock:
        if group in _groups:
            _groups.discard(group)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
