"""A firmware on an emulated Cortex-M55: qemu-system-arm, read while it runs, ended by us."""

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
"""Where Arm's inference runner looks for its model (it prints the address)."""
MOST_MODEL_BYTES = 0xE0000000 - MODEL_ADDRESS
"""The machine's memory is 2 GiB from 0x60000000 (QEMU, hw/arm/mps2-tz.c)."""
_MOST_LINES = 100_000
"""A firmware that babbles on has lost its way; a model of 1000 operators prints 1100."""
_INSTALL = "install it (Debian, Ubuntu: qemu-system-arm), or leave the load test out"


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a machine printed, and how it ended: complete, died by itself, or took too long."""

    lines: tuple[str, ...]
    end: Literal["complete", "died", "late"]
    code: int | None


def version() -> str:
    """Of the emulator in this step's PATH, such as "7.2.22"."""
    import re

    try:
        answer = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=False)
    except OSError:
        fail(f"{QEMU} is not on this machine: {_INSTALL}.")
    found = re.search(r"version (\d+(?:\.\d+)*)", answer.stdout)
    if found is None:
        fail(f"{QEMU} does not tell its version: {(answer.stderr or answer.stdout).strip()[:300]}")
    return found[1] if found else ""


def boot(
    kernel: Path,
    model: Path,
    seconds: float,
    is_last: Callable[[str], bool],
    heard: Callable[[str], None],
) -> Session:
    """Start the machine with a model in its memory; end it after the last line of interest.

    `heard` gets every line. The guest reaches no file and no network of this machine.
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
    """Line by line: a firmware that locks up says nothing more and never ends."""
    stream, rest = process.stdout, b""
    lines: list[str] = []
    assert stream is not None
    until = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := until - time.monotonic()) > 0 and len(lines) < _MOST_LINES:
            if not selector.select(left):
                break
            data = stream.read(65536)  # what is there: the pipe is not buffered
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
    """A comma would end the option's value."""
    return str(path).replace(",", ",,")
