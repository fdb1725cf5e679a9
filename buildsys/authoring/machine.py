"""What this machine is called in a figure that is true of it alone."""

import platform
from functools import cache
from pathlib import Path

from buildsys.steps.lib.tensorrt.host_library import find_host

_BOARD = Path("/proc/device-tree/model")
_CPU = Path("/proc/cpuinfo")
_FIELDS = ("model name", "Processor", "Hardware", "uarch", "cpu")
"""Of /proc/cpuinfo: x86, ARM of old kernels, RISC-V, POWER; the first that is there says the model."""


@cache
def machine_name() -> str:
    """CPU model and architecture, "AMD EPYC (x86_64)"; on a board its own name stands first.

    It goes into the action key of a latency step: a figure of another machine is never restored
    as one of this.
    """
    return name_machine(_read(_BOARD), _read(_CPU), platform.processor(), platform.machine())


def gpu_machine_name() -> str:
    """The same with the GPU in front, where a driver tells one."""
    gpu = find_host().gpu
    return f"{gpu}, {machine_name()}" if gpu else machine_name()


def name_machine(board: str, cpuinfo: str, processor: str, architecture: str) -> str:
    """The name, from what the kernel and the platform tell; any of them may be empty."""
    cpu = _cpu_model(cpuinfo) or (processor if processor != architecture else "")
    words = ", ".join(dict.fromkeys(filter(None, (board, cpu)))) or "unknown CPU"
    return f"{words} ({architecture or 'unknown architecture'})"


def _cpu_model(cpuinfo: str) -> str:
    fields: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), " ".join(value.split()))
    return next((fields[name] for name in _FIELDS if fields.get(name)), "")


def _read(path: Path) -> str:
    """A text of the kernel's; the device tree's end with a zero byte."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0\n ")
    except OSError:
        return ""
