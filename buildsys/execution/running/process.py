"""One subprocess for one step: clean environment, own process group, ended with its parent."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from buildsys import operating_system, typed_json
from buildsys.execution import children
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.steps.lib.runtime import pinned_arithmetic
from buildsys.steps.lib.tensorrt.host_library import VARIABLE
from buildsys.write_errors import writing

OnProgress = Callable[[float, float, str, str], None]
"""(done, total, unit, note)."""

_ALWAYS = ("CUDA_VISIBLE_DEVICES",)
"""Which GPU computes, like `train.device`: hardware is part of no key."""
_WITH_HOST_LIBRARY = ("LD_LIBRARY_PATH", VARIABLE)
"""Which TensorRT is loaded: its version is a parameter of the steps that require it, and was looked up
under the same variables. Other steps load what their environment brings, and never see them."""
_WITH_NETWORK = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "BUILDSYS_DOWNLOAD_GIB",
    "BUILDSYS_DOWNLOAD_HOURS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""How a file is reached, never what is in it: the recipe names its digest."""
_LONGEST_REPORT = 1 << 16
"""Bytes of a line; the rest of a longer one is no report either."""
LONGEST_LOG = 64 << 20
"""Bytes of a log, before its last ones."""
_CHUNK = 1 << 16
_LAST_REPORTS_SECONDS = 1.0
"""A process that left its group may hold the pipe open for ever: nobody waits for that one."""
_NOWHERE = dict.fromkeys(
    ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    "http://127.0.0.1:9",
)
"""The discard port of this machine: a download that a tool tries by itself is refused at once."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, where, with which environment, and which file gets its output."""

    arguments: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    log: Path


CommandRunner = Callable[[Command, OnProgress], int]
"""Runs a command to its end and returns its exit code; passed in, so that tests can count runs."""


def step_environment(
    python: Path,
    scratch: Path,
    threads: int,
    device: str,
    bytecode: Path | None,
    network: bool,
    timing_caches: Path | None = None,
) -> dict[str, str]:
    """The whole environment of a step: an allow-list, so that no machine's habits leak in.

    `bytecode`: where it was made ahead, None: beside its source; steps add none, the next one would run
    it. `network`: whether it is one of those that fetch what is remote; the others reach nothing.
    `timing_caches`: TensorRT's, for a step that requires this machine's library.
    """
    count = str(threads)
    environment = {
        "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(scratch),
        "HF_HUB_OFFLINE": "1",
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "NO_COLOR": "1",
        "BUILDSYS_DEVICE": device,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), count),
        # Threads that wait sleep: spinning, they take the core from the one they wait for, and a
        # step beside one busy process slows tenfold. The order of the arithmetic stays.
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
    }
    if (
        operating_system.is_x86_64()
    ):  # libraries of other processors warn of names that are not theirs
        environment |= pinned_arithmetic.ENVIRONMENT
    if bytecode is not None:
        environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    passed: tuple[str, ...] = _ALWAYS
    if timing_caches is not None:
        environment["BUILDSYS_TIMING_CACHES"] = str(timing_caches)
        passed += _WITH_HOST_LIBRARY
    passed += _WITH_NETWORK if network else ()
    environment |= {} if network else _NOWHERE
    return environment | {name: os.environ[name] for name in passed if name in os.environ}


def run_command(
    command: Command,
    on_progress: OnProgress,
    cancellation: children.Cancellation | None = None,
) -> int:
    """The default CommandRunner. The child and all that it starts end with us, or when `cancellation` is
    requested (see `execution.children`).
    """
    with open_log(command.log) as log:
        progress_read, progress_write = os.pipe()
        output_read, output_write = os.pipe()
        readers = (
            threading.Thread(
                target=forward_reports, args=(progress_read, on_progress), daemon=True
            ),
            threading.Thread(target=copy_output, args=(output_read, log), daemon=True),
        )
        for reader in readers:
            reader.start()
        try:
            with (
                os.fdopen(output_write, "wb") as output,
                children.child(
                    command.arguments,
                    {**command.environment, "BUILDSYS_PROGRESS_FD": str(progress_write)},
                    (progress_write,),
                    cwd=command.folder,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cancellation=cancellation,
                ) as process,
            ):
                output.close()  # the reader's end comes when the child and its children are gone
                return children.wait(process)
        finally:
            os.close(progress_write)
            for reader in readers:
                reader.join(_LAST_REPORTS_SECONDS)


def open_log(path: Path) -> IO[bytes]:
    """A new log, in the place of whatever has its name."""
    with writing("the log", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # what a link or a pipe of its name leads to is not ours
        return path.open("xb", buffering=0)


def copy_output(descriptor: int, log: IO[bytes]) -> None:
    """Write a log until all have closed the pipe: of more than `LONGEST_LOG` bytes the beginning, a line
    that says so, and the end.

    A full disk stops the log, never the step.
    """
    size, last = 0, b""
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            kept = chunk[: max(0, LONGEST_LOG - size)]
            size += len(chunk)
            last = (last + chunk[len(kept) :])[-_CHUNK:]
            with contextlib.suppress(OSError, ValueError):  # closed: see _LAST_REPORTS_SECONDS
                log.write(kept)
    if last:
        line = (
            f"\n… {size - LONGEST_LOG - len(last)} bytes left out: the size of a log is limited …\n"
        )
        with contextlib.suppress(OSError, ValueError):
            log.write(line.encode() + last)


@dataclass(frozen=True, kw_only=True)
class _Report:
    """A line of what a step reports (steps/lib/runtime/progress.py)."""

    done: float
    total: float
    unit: str
    note: str


def forward_reports(descriptor: int, on_progress: OnProgress) -> None:
    """Forward reports until we, the child and all its children have closed the pipe."""
    with os.fdopen(descriptor, "rb") as stream:
        while line := stream.readline(_LONGEST_REPORT):
            with contextlib.suppress(*UNEXPECTED):  # who stops reading stops the step
                report = typed_json.parse(_Report, line)
                on_progress(report.done, report.total, report.unit, report.note)


def explain_exit(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    name = operating_system.signal_name(-code)
    hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}"


def quote(arguments: Sequence[str]) -> str:
    """A command as a shell would take it."""
    import shlex

    return shlex.join(arguments)
