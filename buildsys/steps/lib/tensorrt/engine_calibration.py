"""Set precision flags and calibrate int8 for a network that is not strongly typed, up to TensorRT
10.

This module holds the part that can be tested without TensorRT. It is shipped as
`engine_calibration.py`; see `engine_program`.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import operator
from pathlib import Path
from typing import IO, Any

_FLOAT = 4
"""Size of a float32 in bytes."""


class Batches:
    """Images of an .npy file, batch after batch in one buffer of GPU memory; an incomplete last
    batch is ignored. `count`: number of batches; `delivered`: number so far.

    `shape`: [batch, 3, h, w]; `cuda`: a cudart.Cuda. Raises ValueError if there is no complete
    batch or the file is truncated, and the exceptions of `cuda`.
    """

    def __init__(self, cuda: Any, path: Path, shape: list[int]) -> None:
        start, found = read_header(path)
        self.count, self.delivered = found[0] // shape[0], 0
        if list(found[1:]) != shape[1:] or not self.count:
            raise ValueError(f"the images are {found}; {tuple(shape)} make one batch")
        if path.stat().st_size != start + _FLOAT * functools.reduce(operator.mul, found):
            raise ValueError(f"{path.name} is cut off: copy it again")
        self._size = _FLOAT * functools.reduce(operator.mul, shape)
        self._cuda, self._place = cuda, cuda.make("cudaMalloc", self._size)
        self._file: IO[bytes] = path.open("rb")
        self._file.seek(start)

    def next(self) -> int | None:
        """Return the address of the next batch; None at the end. Raises OSError, and the exceptions
        of `cuda`.
        """
        if self.delivered == self.count:
            self._file.close()
            return None
        data = self._file.read(self._size)
        if len(data) != self._size:
            raise ValueError(f"{self._file.name} ends in the middle of an image")
        self._cuda.cudaMemcpyAsync(self._place, data, self._size, self._cuda.TO_GPU, None)
        self._cuda.cudaStreamSynchronize(None)
        self.delivered += 1
        return int(self._place.value)


class Calibration:
    """The answers of a calibrator. TensorRT only prints an exception of a calibrator, treats it as
    the end of the images, and still builds an engine: so this class raises nothing, and `fault`
    returns the error.

    `cache`: the scales, read if the file exists, otherwise written; `batches`: None if only the
    cache is available. `known`: the cache's bytes.
    """

    def __init__(self, cache: Path, batch_size: int, batches: Batches | None) -> None:
        self.batch_size, self._cache, self._batches = batch_size, cache, batches
        self.known = cache.read_bytes() if cache.is_file() else None
        self._wanted = batches.count if batches is not None and self.known is None else 0
        self._error = ""

    def next_batch(self) -> int | None:
        """Return the GPU address of the next batch; None at the end, or after an error."""
        try:
            if self._batches is None:
                raise ValueError(
                    "TensorRT does not take the calibration cache, and asks for images"
                )
            return None if self._error else self._batches.next()
        except Exception as error:
            self._note(error)
            return None

    def write(self, data: Any) -> None:
        """Write the scales if they come from all images."""
        if self._lacking():
            return
        try:
            self.known = bytes(data)
            self._cache.write_bytes(self.known)
        except Exception as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._error = self._error or " ".join(str(error).split()) or type(error).__name__

    def fault(self) -> str:
        """Return what went wrong, after the build; "" if nothing did."""
        return self._lacking() or ("" if self.known else "TensorRT wrote no calibration cache")

    def _lacking(self) -> str:
        taken = self._batches.delivered if self._batches is not None else 0
        if self._error:
            return f"calibration: {self._error}"
        if taken < self._wanted:
            return f"TensorRT calibrated on {taken} of {self._wanted} batches"
        return ""


def lower(
    weak: Any, trt: Any, builder: Any, network: Any, config: Any, request: dict[str, Any]
) -> Any:
    """Set up the request's scheme; returns (the calibrator, its Calibration), or None if none is
    needed. Raises ValueError, OSError, before anything is built.

    `weak`: the module engine_weakly_typed. A file with quantize operators needs no calibrator. A
    network with a fixed batch is calibrated in that batch, one with a dynamic batch in at most the
    number of images.
    """
    weak.set_precision(trt, config, request["scheme"], request["half"])
    if request["scheme"] != "int8" or not request["calibration_cache"]:
        return None
    tensor, profile = network.get_input(0), None
    shape, pictures = list(tensor.shape), request["pictures"] and Path(request["pictures"])
    if shape[0] < 0:
        most = read_header(pictures)[1][0] if pictures else request["calibration_batch"]
        shape[0] = max(1, min(request["calibration_batch"], most))
        profile = builder.create_optimization_profile()
        profile.set_shape(tensor.name, tuple(shape), tuple(shape), tuple(shape))
    batches = open_batches(request["cudart"], pictures, shape) if pictures else None
    calibration = Calibration(Path(request["calibration_cache"]), shape[0], batches)
    return weak.set_calibrator(trt, config, calibration, profile), calibration


def open_batches(cudart: str, pictures: Path, shape: list[int]) -> Batches:
    """Open the images with the CUDA runtime that copies them to the GPU. Raises ValueError.
    `cudart`: the file of the module with which packages open engines.
    """
    spec = importlib.util.spec_from_file_location("cudart", cudart)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        batches = Batches(module.Cuda(), pictures, shape)
    except module.Refused as error:
        raise ValueError(str(error)) from error
    print(f"calibrates on {batches.count} batches of {shape[0]} images")
    return batches


def read_header(path: Path) -> tuple[int, tuple[int, ...]]:
    """Read the header of an .npy file of version 1.0 (NEP 1): offset of the values, and their
    shape. Raises ValueError unless they are float32 in C order.
    """
    with path.open("rb") as data:
        data.seek(8)  # magic and version
        length = int.from_bytes(data.read(2), "little")
        header = ast.literal_eval(data.read(length).decode("latin-1"))
    if (header["descr"], header["fortran_order"]) != ("<f4", False):
        raise ValueError(f"{path.name} does not hold float32 in C's order")
    return 10 + length, header["shape"]
