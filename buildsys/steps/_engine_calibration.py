"""Precision flags and int8 calibration of a network that is not strongly typed, up to TensorRT 10: what
of it can be tried without TensorRT. Shipped as `engine_calibration.py`; see `_engine_program`.
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def lower(
    weak: Any, trt: Any, builder: Any, network: Any, config: Any, request: dict[str, Any]
) -> Any:
    """What the request's scheme needs; the calibrator, None where there is none. Raises ValueError.

    `weak`: the module _engine_weak. A file with quantize operators needs no calibrator. A network of a
    settled batch is calibrated in that.
    """
    weak.set_precision(trt, config, request["scheme"])
    if request["scheme"] != "int8" or not request["calibration_cache"]:
        return None
    tensor, profile = network.get_input(0), None
    shape = list(tensor.shape)
    if shape[0] < 0:
        shape[0], profile = request["calibration_batch"], builder.create_optimization_profile()
        profile.set_shape(tensor.name, tuple(shape), tuple(shape), tuple(shape))
    pictures = request["pictures"]
    batches = read_batches(Path(pictures), shape) if pictures else iter(())
    cache = Path(request["calibration_cache"])
    return weak.set_calibrator(trt, config, cache, shape[0], batches, profile)


def read_batches(path: Path, shape: list[int]) -> Iterator[bytes]:
    """Values of an .npy file, float32 in C's order, as many pictures at a time as `shape` says; what
    is left over at the end fills no batch. Raises ValueError.
    """
    with path.open("rb") as data:
        data.seek(8)  # behind magic and version 1.0: two bytes for the header's length (NEP 1)
        length = int.from_bytes(data.read(2), "little")
        header = ast.literal_eval(data.read(length).decode("latin-1"))
    found = (header["descr"], header["fortran_order"], list(header["shape"][1:]))
    count = header["shape"][0] // shape[0]
    if found != ("<f4", False, shape[1:]) or not count:
        raise ValueError(f"the pictures are {header['shape']}; {tuple(shape)} make one batch")
    print(f"calibrated on {count} batches of {shape[0]} pictures")
    return _read_parts(path, 10 + length, 4 * functools.reduce(operator.mul, shape), count)


def _read_parts(path: Path, start: int, size: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as data:
        data.seek(start)
        for _ in range(count):
            yield data.read(size)
