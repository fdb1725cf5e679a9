"""What only TensorRT 8.6 to 10 have: flags for precisions, calibration. Shipped as `engine_weakly_typed.py`.

UNVERIFIED: no such TensorRT was here, nobody has run this file. It follows the Python API of 10.x
(docs.nvidia.com/deeplearning/tensorrt: IInt8EntropyCalibrator2, IBuilderConfig), gone in 11.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_TO_DEVICE = 1
"""cudaMemcpyHostToDevice."""


def set_precision(trt: Any, config: Any, scheme: str) -> None:
    """The builder may choose kernels of this precision beside those of float32."""
    if scheme != "float32":
        config.set_flag(trt.BuilderFlag.INT8 if scheme == "int8" else trt.BuilderFlag.FP16)


def set_calibrator(
    trt: Any, config: Any, cache: Path, size: int, batches: Iterator[bytes], profile: Any
) -> Any:
    """By `cache` where it is, else by batches of `size` pictures; `profile`: their shape, where the
    network's is open. What is returned has to outlive the build; `error` says what went wrong.
    """
    if profile is not None:
        config.set_calibration_profile(profile)
    place = ctypes.c_void_p()

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.error = ""

        def get_batch_size(self) -> int:
            return size

        def get_batch(self, names: list[str]) -> list[int] | None:
            data = next(batches, b"")
            cuda = ctypes.CDLL(ctypes.util.find_library("cudart") or "libcudart.so")
            count = ctypes.c_size_t(len(data))
            code = 0 if place or not data else cuda.cudaMalloc(ctypes.byref(place), count)
            code = code or (cuda.cudaMemcpy(place, data, count, _TO_DEVICE) if data else 0)
            self.error = f"calibration: CUDA's error {code}" if code else self.error
            return [int(place.value or 0)] if data and not code else None

        def read_calibration_cache(self) -> bytes | None:
            return cache.read_bytes() if cache.is_file() else None

        def write_calibration_cache(self, data: Any) -> None:
            cache.write_bytes(bytes(data))

    config.int8_calibrator = Calibrator()
    return config.int8_calibrator
