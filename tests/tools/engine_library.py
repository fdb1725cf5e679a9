"""A stand-in for TensorRT and CUDA in one process: an engine whose output is twice its input, for 1 to
4 pictures. It shows that batches arrive whole, and nothing of any GPU.
"""

import ctypes
from typing import Any


class Library:
    """The library, the CUDA runtime and a loaded engine, all in one."""

    __version__ = "10.3.0"
    num_io_tensors = 2
    lost = False

    class TensorIOMode:
        INPUT, OUTPUT = "input", "output"

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = (-1, 3, 2, 2)
        self.memory: dict[int, Any] = {}
        self.at: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return ("images", "twice")[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "images" else "output"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def get_tensor_dtype(self, name: str) -> str:
        return "DataType.FLOAT"

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        return [(n, 3, 2, 2) for n in (1, 2, 4)]

    def create_execution_context(self) -> Any:
        return self

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.at[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        given = self.memory[self.at["images"]]
        found = _numbers(given) * 2
        self.memory[self.at["twice"]][:] = found.tobytes()
        return not self.lost

    def gpu(self) -> str:
        return "a stand-in"

    def capability(self) -> str:
        return "8.7"

    def make(self, name: str, size: int = 0) -> Any:
        place = ctypes.c_void_p(len(self.memory) + 1)
        self.memory[place.value or 0] = bytearray(size)
        return place

    def cudaFree(self, place: Any) -> None:  # noqa: N802 - CUDA's name
        del self.memory[place.value]

    def cudaMemcpyAsync(self, to: Any, of: Any, size: int, kind: int, stream: Any) -> None:  # noqa: N802
        if kind == 1:
            self.memory[to.value][:] = ctypes.string_at(of, size)
        else:
            ctypes.memmove(to, bytes(self.memory[of.value]), size)

    def cudaEventElapsedTime(self, place: Any, started: Any, ended: Any) -> None:  # noqa: N802
        place._obj.value = 1.5

    def cudaEventRecord(self, event: Any, stream: Any) -> None:  # noqa: N802
        pass

    def cudaStreamSynchronize(self, stream: Any) -> None:  # noqa: N802
        pass


def _numbers(held: bytearray) -> Any:
    """Float32 numbers."""
    import numpy as np

    return np.frombuffer(bytes(held), np.float32)
