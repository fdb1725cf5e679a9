"""Runs one subprocess for one step: clean environment, own process group, ended with its parent."""

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
"""Receives (done, total, unit, note)."""

_ALWAYS = ("CUDA_VISIBLE_DEVICES",)
"""Selects the GPU that computes, like `train.device`: hardware is not part of any key."""
_WITH_HOST_LIBRARY = ("LD_LIBRARY_PATH", VARIABLE)
"""Select the TensorRT that is loaded, for steps that require it.

Its version is a parameter of these steps, and was found with the same variables. Other steps load
what their environment contains, without these variables.
"""
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
"""Settings for reaching a file; they do not affect its content, whose digest is in the recipe."""
_LONGEST_REPORT = 1 << 16
"""Bytes of a line; a longer line is not a report."""
LONGEST_LOG = 64 << 20
"""Bytes of a log that are written before its last ones."""
_CHUNK = 1 << 16
_LAST_REPORTS_SECONDS = 1.0
"""Seconds: a process that left its group may hold the pipe open forever, and is not waited for."""
_NOWHERE = dict.fromkeys(
    ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    "http://127.0.0.1:9",
)
"""The discard port of this machine: a download that a tool tries by itself is refused at once."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command with its folder, its environment, and the file for its output."""

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
    """Return the complete environment of a step: an allow-list, independent of the user's settings.

    `bytecode`: the folder of precompiled bytecode, None: beside its source; steps write none, since
    the next step would run it. `network`: whether the step fetches remote files; other steps have
    no access. `timing_caches`: TensorRT's, for a step that requires this machine's library.
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
        # Waiting threads sleep: if they spin, they take the core from the thread that they wait
        # for, and a step beside one busy process becomes ten times slower. The order of the
        # arithmetic is the same.
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
    """Run a command; the default CommandRunner.

    The child and all that it starts end with us, or when `cancellation` is requested (see
    `execution.children`).
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
                output.close()  # the reader ends when the child and its children have ended
                return children.wait(process)
        finally:
            os.close(progress_write)
            for reader in readers:
                reader.join(_LAST_REPORTS_SECONDS)


def open_log(path: Path) -> IO[bytes]:
    """Open a new log, replacing whatever has its name."""
    with writing("the log", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # the target of a link or pipe of this name is not ours
        return path.open("xb", buffering=0)


def copy_output(descriptor: int, log: IO[bytes]) -> None:
    """Write a log until every process has closed the pipe.

    Of more than `LONGEST_LOG` bytes it keeps the beginning, a line about the gap, and the end. A
    full disk ends the log, never the step.
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
        left_out = size - LONGEST_LOG - len(last)
        line = (
            f"\n… {left_out} bytes left out: the size of a log is limited …\n" if left_out else ""
        )
        with contextlib.suppress(OSError, ValueError):
            log.write(line.encode() + last)


@dataclass(frozen=True, kw_only=True)
class _Report:
    """A line that a step reports (steps/lib/runtime/progress.py)."""

    done: float
    total: float
    unit: str
    note: str


def forward_reports(descriptor: int, on_progress: OnProgress) -> None:
    """Forward reports until every process has closed the pipe."""
    with os.fdopen(descriptor, "rb") as stream:
        while line := stream.readline(_LONGEST_REPORT):
            with contextlib.suppress(*UNEXPECTED):  # a reader that stops would block the step
                report = typed_json.parse(_Report, line)
                on_progress(report.done, report.total, report.unit, report.note)


def explain_exit(code: int) -> str:
    """Return an exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    name = operating_system.signal_name(-code)
    hint = "; the machine may have run out of memory" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}"


def quote(arguments: Sequence[str]) -> str:
    """Return a command in the notation of a shell."""
    import shlex

    return shlex.join(arguments)
