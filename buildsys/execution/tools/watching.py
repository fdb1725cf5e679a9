"""Reports the progress of a command without output, from what the kernel says it has written."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

OnTick = Callable[[float, float], None]
"""Receives (seconds since the start, MiB written so far)."""


def watched(
    on_tick: OnTick, every: float = 1.0
) -> Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]:
    """Return a runner of commands that captures output and reports progress every so many
    seconds.
    """

    def run(command: Sequence[str], extra: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        started = time.monotonic()
        with subprocess.Popen(
            list(command),
            env={**os.environ, **extra},
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                while True:
                    try:
                        output, errors = process.communicate(timeout=every)
                        break
                    except subprocess.TimeoutExpired:
                        on_tick(time.monotonic() - started, _written_mib(process.pid))
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    return run


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
