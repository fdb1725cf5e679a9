"""A quiet command, watched: uv says nothing while it works, the kernel knows what it has written."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

OnTick = Callable[[float, float], None]
"""(seconds since the start, MiB written until now)."""


def watched(
    on_tick: OnTick, every: float = 1.0
) -> Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]:
    """A runner of commands, output captured, that reports every so many seconds."""

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
    """MiB that a process has written, its finished children included; 0 where nobody can tell.

    Of uv that is nearly the size of what it installs: it unpacks while it downloads.
    """
    try:
        text = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    except OSError:
        return 0.0
    fields = dict(line.split(": ") for line in text.splitlines())
    return int(fields.get("wchar", 0)) / 2**20
