"""Facts of this machine that plans depend on: its name, GPU and TensorRT; read once per process.

A run without work reads the CPU's name here, and starts no process.
"""

import json
import os
import platform
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.operating_system import cpu_brand
from buildsys.steps.lib.tensorrt.host_library import interpreter

if TYPE_CHECKING:  # not needed by a run without work
    from buildsys.graph import HostFacts

MARKS = (
    "/dev/nvidiactl",
    "/dev/nvhost-gpu",
    "/dev/nvgpu",
    "/usr/lib/wsl/lib/libcuda.so.1",
)
"""Files of an NVIDIA driver: of a card, of a Jetson's old and new kernel, and of Windows' subsystem
for Linux. Querying the driver takes a second.
"""
_BOARD = Path("/proc/device-tree/model")
_CPU = Path("/proc/cpuinfo")
_FIELDS = ("model name", "Processor", "Hardware", "uarch", "cpu")
"""Fields of /proc/cpuinfo: x86, ARM on old kernels, RISC-V, POWER; the first one present is the
model.
"""
INSTRUCTIONS = (
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimdhp",
    "asimddp",
    "i8mm",
    "bf16",
    "sve",
    "sve2",
)
"""Names in /proc/cpuinfo by which numerical libraries choose their kernels: x86-64's, then ARM's.
"""
_FLAGS = ("flags", "Features")
_FIRST_CPU = 4096
"""Characters of /proc/cpuinfo that contain its first processor."""
_ANSWER_SECONDS = 60.0
_PROBE = """
import ctypes, importlib, json, sys
found = {"version": "", "file": "", "gpu": "", "compute_capability": "", "problem": ""}
try:
    module = importlib.import_module(sys.argv[1])
    found["version"], found["file"] = module.__version__, module.__file__
except Exception as error:
    found["problem"] = " ".join(str(error).split())[:200]
try:
    cuda = ctypes.CDLL("libcuda.so.1")
    device, name = ctypes.c_int(), ctypes.create_string_buffer(128)
    major, minor = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) == 0 and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0:
        cuda.cuDeviceGetName(name, 128, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
        found["gpu"] = name.value.decode()
        found["compute_capability"] = "%d.%d" % (major.value, minor.value)
except (OSError, AttributeError):
    pass  # no driver, or one without these calls: no GPU that could be used
print(json.dumps(found))
"""
"""75 and 76 are CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of the driver's API."""


@dataclass(frozen=True, kw_only=True)
class HostLibrary:
    """The library and the GPU: `python` that imports the library; exact `version`; name of the
    first `gpu`.

    A missing part is an empty text. `file`: changes when the library does; `problem`: why it cannot
    be imported.
    """

    python: str = ""
    version: str = ""
    file: str = ""
    gpu: str = ""
    compute_capability: str = ""
    problem: str = ""


def read_host(with_gpu: bool) -> "HostFacts":
    """Return the facts of this machine.

    `with_gpu` starts a process, once, where there is a driver.
    """
    from buildsys.graph import HostFacts

    if not with_gpu:
        return HostFacts(cpu=cpu_name())
    library = find_library()
    return HostFacts(
        cpu=cpu_name(),
        gpu=library.gpu,
        compute_capability=library.compute_capability,
        tensorrt=library.version,
    )


def watched_files() -> tuple[str, ...]:
    """Return the files that the facts with a GPU depend on."""
    library = find_library()
    return tuple(filter(None, (library.python, library.file)))


def can_change_unseen(local: bool) -> bool:
    """Return whether the GPU's facts can change without a change to a watched file.

    They can where a driver is present and a part is missing that may be installed: the GPU's name,
    and for a `local` target, the library.
    """
    library = find_library()
    known = bool(library.gpu and (library.version or not local))
    return has_driver() and not known


def find_library(module: str = "tensorrt") -> HostLibrary:
    """Return this machine's library and GPU; queried once per process, and only with a driver.

    `module`: the library's Python package.
    """
    return _ask(module, interpreter()) if has_driver() else HostLibrary()


def has_driver() -> bool:
    """Return whether this machine has the driver of an NVIDIA GPU."""
    return any(os.path.exists(mark) for mark in MARKS)


@cache
def _ask(module: str, python: str) -> HostLibrary:
    import subprocess

    if not Path(python).is_file():
        return HostLibrary()
    try:
        done = subprocess.run(
            [python, "-s", "-c", _PROBE, module],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
        return HostLibrary(python=python, **json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, IndexError):
        return HostLibrary()


@cache
def cpu_name() -> str:
    """Return CPU model and architecture, "AMD EPYC (x86_64)"; on a board, its name first.

    It is part of the action key of a latency step, so that a figure of another machine is never
    restored.
    """
    if sys.platform != "linux":  # platform.processor() would start a process
        return name_machine("", "", cpu_brand(), platform.machine())
    return name_machine(_read(_BOARD), _read(_CPU), platform.processor(), platform.machine())


def name_machine(board: str, cpuinfo: str, processor: str, architecture: str) -> str:
    """Return the machine's name from texts of the kernel and the platform; any of them may be
    empty.
    """
    cpu = _cpu_model(cpuinfo) or (processor if processor != architecture else "")
    words = ", ".join(dict.fromkeys(filter(None, (board, cpu)))) or "unknown CPU"
    return f"{words} ({architecture or 'unknown architecture'})"


@cache
def instruction_sets() -> tuple[str, ...]:
    """Return those of `INSTRUCTIONS` that this CPU has; empty where the kernel does not list
    them.
    """
    return read_instructions(_read(_CPU)) if sys.platform == "linux" else ()


def read_instructions(cpuinfo: str) -> tuple[str, ...]:
    """Return those of the first processor in a /proc/cpuinfo."""
    fields = _fields(cpuinfo)
    flags = next((fields[name] for name in _FLAGS if name in fields), "").split()
    return tuple(name for name in INSTRUCTIONS if name in flags)


def _cpu_model(cpuinfo: str) -> str:
    fields = _fields(cpuinfo)
    return next((fields[name] for name in _FIELDS if fields.get(name)), "")


def _fields(cpuinfo: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), " ".join(value.split()))
    return fields


def _read(path: Path) -> str:
    """Return a text file of the kernel; those of the device tree end with a zero byte."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_FIRST_CPU)
            # a server lists each of its 200 processors
            text += "" if f"\n{_FIELDS[0]}" in text else file.read()
    except OSError:
        return ""
    return text.rstrip("\0\n ")
