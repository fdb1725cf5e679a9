"""The CUDA runtime and the driver, as far as an engine needs them: ctypes and nothing else."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

TO_GPU, FROM_GPU = 1, 2
"""cudaMemcpyKind."""
MAJOR, MINOR = 75, 76
"""cudaDeviceAttr: the two halves of a compute capability."""
POINTER, COUNT, OUT = ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(ctypes.c_void_p)
CALLS = {
    "cudaGetDeviceCount": (ctypes.POINTER(COUNT),),
    "cudaDeviceGetAttribute": (ctypes.POINTER(COUNT), COUNT, COUNT),
    "cudaMalloc": (OUT, ctypes.c_size_t),
    "cudaFree": (POINTER,),
    "cudaMemcpyAsync": (POINTER, POINTER, ctypes.c_size_t, COUNT, POINTER),
    "cudaStreamCreate": (OUT,),
    "cudaStreamSynchronize": (POINTER,),
    "cudaEventCreate": (OUT,),
    "cudaEventRecord": (POINTER, POINTER),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), POINTER, POINTER),
}
"""Of the CUDA runtime: what is called here, and with what."""


class Refused(Exception):
    """One sentence, and the exit code: 2 the input is wrong, 3 not here, 4 something is missing."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


class Cuda:
    """The CUDA runtime through ctypes. Every call raises Refused where CUDA reports an error."""

    TO_GPU, FROM_GPU = TO_GPU, FROM_GPU

    def __init__(self) -> None:
        self._library = _load_cudart()
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        for name, types in CALLS.items():
            getattr(self._library, name).argtypes = types

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, name)

        def call(*arguments: Any) -> None:
            code = function(*arguments)
            if code:
                reason = self._library.cudaGetErrorString(code).decode()
                raise Refused(f"CUDA does not do {name}: {reason}", 3)

        return call

    def make(self, name: str, *arguments: Any) -> Any:
        """What a call hands back through its first argument: room on the GPU, a stream, an event."""
        place = POINTER()
        getattr(self, name)(ctypes.byref(place), *arguments)
        return place

    def attribute(self, number: int) -> int:
        """Of the first GPU."""
        value = COUNT()
        self.cudaDeviceGetAttribute(ctypes.byref(value), number, 0)
        return value.value

    def capability(self) -> str:
        """Of the first GPU, as "8.6"."""
        return f"{self.attribute(MAJOR)}.{self.attribute(MINOR)}"

    def gpu(self) -> str:
        """The first GPU's name by the driver, which lists them as the CUDA runtime does."""
        driver, text = ctypes.CDLL("libcuda.so.1"), ctypes.create_string_buffer(256)
        if driver.cuInit(0) or driver.cuDeviceGetName(text, len(text), 0):
            return "a GPU without a name"
        return text.value.decode("utf-8", "replace")


def _load_cudart() -> Any:
    """The CUDA runtime: of a Python package, of the system, of JetPack. Raises Refused."""
    packages = (Path(entry) / "nvidia" for entry in sys.path if entry)
    wheels = [str(path) for place in packages for path in place.glob("*/lib/libcudart.so.*")]
    system = [f"libcudart.so{version}" for version in ("", ".13", ".12", ".11.0")]
    for name in (*sorted(wheels), *system, "/usr/local/cuda/lib64/libcudart.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    message = "the CUDA runtime (libcudart) is missing: the CUDA toolkit has it, and so have the"
    raise Refused(f"{message} Python packages nvidia-cuda-runtime and nvidia-cuda-runtime-cu12", 4)
