"""The TensorRT of this machine: found and asked, never installed.

On a Jetson it comes with JetPack, on a server with NVIDIA's packages or a container: in a Python of
the machine's, not in ours. `BUILDSYS_TENSORRT_PYTHON` names that Python; without it `python3` is
looked for in the folders that steps see. Steps start it as a child (see build_engine).
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VARIABLE = "BUILDSYS_TENSORRT_PYTHON"
SEARCHED = "/usr/local/bin:/usr/bin:/bin"
"""The folders that steps see."""
MARKS = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/nvgpu")
"""What a driver leaves: of a card, and of a Jetson's old and new kernel. Asking costs a second."""
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""Of the libraries that a target can name."""
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""What a library's Python package is called."""
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
class Host:
    """What there is: `python` that imports the library; `version` exact; `gpu` the first one's name.

    Empty words where something is missing. `file`: what changes when the library does; `problem`: why
    it cannot be imported.
    """

    python: str
    version: str
    file: str
    gpu: str
    compute_capability: str
    problem: str = ""


NOTHING = Host(python="", version="", file="", gpu="", compute_capability="")


def find_host(module: str = "tensorrt", python: str = "") -> Host:
    """This machine's library and GPU; asked once a process, and only where there is a driver.

    `module`: the library's Python package; `python`: whose, where it is not the machine's own.
    """
    if not any(os.path.exists(mark) for mark in MARKS):
        return NOTHING
    return _ask(module, python or interpreter())


def interpreter() -> str:
    """The machine's Python that is asked for TensorRT; empty where there is none."""
    import shutil

    named = os.environ.get(VARIABLE, "")
    return named or shutil.which("python3", path=SEARCHED) or ""


def is_version(exact: str, wanted: str) -> bool:
    """Whether "10.3.0.30" is a "10.3"."""
    return exact == wanted or exact.startswith(f"{wanted}.")


@cache
def _ask(module: str, python: str) -> Host:
    import subprocess

    if not Path(python).is_file():
        return NOTHING
    try:
        done = subprocess.run(
            [python, "-s", "-c", _PROBE, module],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ANSWER_SECONDS,
        )
        return Host(python=python, **json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired, ValueError, TypeError, IndexError):
        return NOTHING
