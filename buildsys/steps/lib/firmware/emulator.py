"""Run firmware on an emulated Cortex-M55 with qemu-system-arm, and read its output."""

import selectors
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildsys.steps.lib.runtime.progress import fail

QEMU = "qemu-system-arm"
MACHINE = "mps3-an547"
MODEL_ADDRESS = 0x90000000
"""The address at which Arm's inference runner expects its model (it prints the address)."""
MOST_MODEL_BYTES = 0xE0000000 - MODEL_ADDRESS
"""Maximum size of a model: the machine's memory is 2 GiB from 0x60000000 (QEMU, hw/arm/mps2-tz.c).
"""
_MOST_LINES = 100_000
"""Maximum number of lines: a model of 1000 operators prints 1100."""
_INSTALL = "install it (Debian, Ubuntu: qemu-system-arm), or leave the load test out"


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the machine printed, and whether it completed, ended by itself, or timed out."""

    lines: tuple[str, ...]
    end: Literal["complete", "died", "late"]
    code: int | None


def version() -> str:
    """Return the version of the emulator in this step's PATH, such as "7.2.22"."""
    import re

    try:
        answer = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        fail(f"{QEMU} is not on this machine: {_INSTALL}.")
    found = re.search(r"version (\d+(?:\.\d+)*)", answer.stdout)
    if found is None:
        fail(
            f"{QEMU} --version prints no version: {(answer.stderr or answer.stdout).strip()[:300]}"
        )
    return found[1] if found else ""


def boot(
    kernel: Path,
    model: Path,
    seconds: float,
    is_last: Callable[[str], bool],
    heard: Callable[[str], None],
) -> Session:
    """Start the machine with a model in its memory, and end it after the last relevant line.
    `heard` is called with every line. The guest has no access to files or the network of this
    machine.
    """
    command = [
        QEMU,
        "-M",
        MACHINE,
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
        "-nic",
        "none",
        "-kernel",
        str(kernel),
        "-device",
        f"loader,file={_escape(model)},addr={MODEL_ADDRESS:#x},force-raw=on",
    ]
    with subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            return _listen(process, seconds, is_last, heard)
        finally:
            process.kill()


def _listen(
    process: "subprocess.Popen[bytes]",
    seconds: float,
    is_last: Callable[[str], bool],
    heard: Callable[[str], None],
) -> Session:
    """Read line by line with a timeout, because firmware that locks up never ends."""
    stream, rest = process.stdout, b""
    lines: list[str] = []
    assert stream is not None
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0 and len(lines) < _MOST_LINES:
            if not selector.select(left):
                break
            data = stream.read(65536)  # returns what is available: the pipe is not buffered
            *complete, rest = (rest + data).split(b"\n")
            for line in (part.decode(errors="replace").rstrip("\r") for part in complete):
                lines.append(line)
                heard(line)
                if is_last(line):
                    return Session(lines=tuple(lines), end="complete", code=None)
            if not data:
                lines.append(rest.decode(errors="replace"))
                return Session(lines=tuple(lines), end="died", code=process.wait())
    return Session(lines=(*lines, rest.decode(errors="replace")), end="late", code=None)


def _escape(path: Path) -> str:
    """Return the path with commas escaped: a comma would end the option's value."""
    return str(path).replace(",", ",,")
