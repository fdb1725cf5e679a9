"""Precision flags and int8 calibration of a network that is not strongly typed, up to TensorRT 10: what
of it can be tried without TensorRT. Shipped as `engine_calibration.py`; see `engine_program`.
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

    `weak`: the module _engine_weakly_typed. A file with quantize operators needs no calibrator. A network of a
    settled batch is calibrated in that, one of an open batch in no more than there are pictures.
    """
    weak.set_precision(trt, config, request["scheme"])
    if request["scheme"] != "int8" or not request["calibration_cache"]:
        return None
    tensor, profile = network.get_input(0), None
    batches: Iterator[bytes] = iter(())
    shape, pictures = list(tensor.shape), request["pictures"] and Path(request["pictures"])
    if shape[0] < 0:
        most = read_header(pictures)[1][0] if pictures else request["calibration_batch"]
        shape[0] = max(1, min(request["calibration_batch"], most))
        profile = builder.create_optimization_profile()
        profile.set_shape(tensor.name, tuple(shape), tuple(shape), tuple(shape))
    if pictures:
        batches = read_batches(pictures, shape)
    cache = Path(request["calibration_cache"])
    return weak.set_calibrator(trt, config, cache, shape[0], batches, profile)


def read_header(path: Path) -> tuple[int, tuple[int, ...]]:
    """Of an .npy file of version 1.0 (NEP 1): where its values begin, and their shape. Raises
    ValueError where they are not float32 in C's order.
    """
    with path.open("rb") as data:
        data.seek(8)  # magic and version
        length = int.from_bytes(data.read(2), "little")
        header = ast.literal_eval(data.read(length).decode("latin-1"))
    if (header["descr"], header["fortran_order"]) != ("<f4", False):
        raise ValueError(f"{path.name} does not hold float32 in C's order")
    return 10 + length, header["shape"]


def read_batches(path: Path, shape: list[int]) -> Iterator[bytes]:
    """As many pictures at a time as `shape` says; what is left over at the end fills no batch. Raises
    ValueError where not even one is full.
    """
    start, found = read_header(path)
    count = found[0] // shape[0]
    if list(found[1:]) != shape[1:] or not count:
        raise ValueError(f"the pictures are {found}; {tuple(shape)} make one batch")
    print(f"calibrated on {count} batches of {shape[0]} pictures")
    return _read_parts(path, start, 4 * functools.reduce(operator.mul, shape), count)


def _read_parts(path: Path, start: int, size: int, count: int) -> Iterator[bytes]:
    with path.open("rb") as data:
        data.seek(start)
        for _ in range(count):
            yield data.read(size)
