"""The machine that builds an engine: its library, its GPU, a process whose bytes repeat. Shipped as
`engine_host.py`, for Python 3.8 and later, of the standard library alone; see `_engine_program`.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import subprocess
import sys
from typing import Any

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""What a library's Python package is called."""
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of CUDA's driver API."""
_ADDR_NO_RANDOMIZE = 0x0040000
"""Linux' personality(2)."""
_QUERY = 0xFFFFFFFF
_PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""Without them, the host's TensorRT or the chosen GPU may not be found."""


class Refused(Exception):
    """A sentence about the host, the network or the settings."""

    def __init__(self, sentence: str, code: int = 3) -> None:
        super().__init__(sentence)
        self.code = code


def run_apart(python: str, program: str, request: str) -> int:
    """A program in a process of its own, whose bytes repeat; returns its exit code."""
    if not settle():
        print("addresses are shuffled here: a float16 engine's bytes may differ from run to run")
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "TZ": "UTC"}
    environment.update({name: os.environ[name] for name in _PASSED_ON if name in os.environ})
    sys.stdout.flush()
    command = [python, "-s", program, request]
    return subprocess.run(command, check=False, env=environment).returncode


def settle() -> bool:
    """Programs that this process starts get the same addresses each time; False where the kernel
    does not allow it, as in a container with a strict seccomp profile.
    """
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is None:
        return False
    current = personality(ctypes.c_ulong(_QUERY))
    allowed = personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) if current >= 0 else -1
    return bool(allowed >= 0)


def check_host(request: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """The library, and what is known of it and of the GPU. Raises Refused: before any work."""
    title, wanted = TITLES[request["library"]], request["version"]
    try:
        trt = importlib.import_module(MODULES[request["library"]])
    except ImportError as error:
        absent = error.name == MODULES[request["library"]]
        why = "is missing" if absent else f"cannot be imported, {one_line(str(error))}"
        raise Refused(f"{title} {wanted} {why}", 4) from error
    version = str(trt.__version__)
    if version.split(".")[: len(wanted.split("."))] != wanted.split("."):
        raise Refused(f"{title} {wanted} is wanted, and {version} is installed here")
    capability, gpu = request["compute_capability"], ""
    if request["library"] == "tensorrt":
        gpu, capability = find_gpu()
        if capability != request["compute_capability"]:
            whose = f" ({request['gpu']})" if request["gpu"] else ""
            raise Refused(
                f"a GPU of compute capability {request['compute_capability']}{whose} is wanted, and"
                f" the one here, {gpu}, has {capability}"
            )
    return trt, {
        "library": request["library"], "version": version, "compute_capability": capability,
        "gpu": gpu, "system": f"{sys.platform}-{platform.machine()}",
    }  # fmt: skip


def find_gpu() -> tuple[str, str]:
    """Name and compute capability of the first GPU, by CUDA's driver API. Raises Refused."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Refused("no NVIDIA GPU is here: the driver's libcuda.so.1 is missing") from error
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    digits = [ctypes.c_int() for _ in _CAPABILITY]
    code = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    code = code or cuda.cuDeviceGetName(name, len(name), device)
    for digit, attribute in zip(digits, _CAPABILITY):  # noqa: B905, `strict` is of Python 3.10
        code = code or cuda.cuDeviceGetAttribute(ctypes.byref(digit), attribute, device)
    if code:
        raise Refused(f"no NVIDIA GPU can be used here: the driver answers with error {code}")
    return name.value.decode(errors="replace"), ".".join(str(digit.value) for digit in digits)


def one_line(text: str) -> str:
    """Of a tool's message: its beginning, without line breaks and the full stop."""
    return " ".join(text.split())[:300].rstrip(". ")
