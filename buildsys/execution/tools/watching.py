"""Reports the progress of a command without output, from what the kernel says it has written."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from buildsys.execution.tools.uv_commands import Run, run_command

OnTick = Callable[[float, float], None]
"""Receives (seconds since the start, MiB written so far), in a thread."""


def watched(on_tick: OnTick, every: float = 1.0) -> Run:
    """Return `run_command` that also reports progress every so many seconds."""

    def run(command: Sequence[str], extra: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        return run_command(command, extra, partial(_ticking, on_tick, every))

    return run


@contextlib.contextmanager
def _ticking(on_tick: OnTick, every: float, pid: int) -> Iterator[None]:
    """Within the block, report what a process has written."""
    started, ended = time.monotonic(), threading.Event()

    def tick() -> None:
        most = 0.0
        while not ended.wait(every):
            most = max(most, _written_mib(pid))  # nothing can be read once the process has ended
            on_tick(time.monotonic() - started, most)

    ticks = threading.Thread(target=tick, daemon=True, name="ticks")
    ticks.start()
    try:
        yield
    finally:
        ended.set()
        ticks.join()


def _written_mib(pid: int) -> float:
    """Return the MiB that a process has written, with its finished children; 0 where unknown.

    For uv that is nearly the size of what it installs: it unpacks while it downloads.
    """
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return 0.0
    fields = dict(line.split(": ") for line in text.splitlines())
    return int(fields.get("wchar", 0)) / 2**20
