"""Inputs and outputs of an ONNX file, read without the library: nothing else of it is asked for here.

The numbers are those of its protobuf messages (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto):
ModelProto.graph 7; GraphProto.initializer 5, input 11, output 12; ValueInfoProto.name 1, type 2;
TypeProto.tensor_type 1; Tensor.shape 2; TensorShapeProto.dim 1; Dimension.dim_value 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_NAME_OF_TENSOR = 8
"""TensorProto.name."""
_LONGEST_NUMBER = 10
"""Bytes of a varint."""


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """By name; of an axis that is no number, None; of a tensor without a shape, None."""

    inputs: dict[str, tuple[int | None, ...] | None]
    outputs: dict[str, tuple[int | None, ...] | None]


def read_tensors(file: Path) -> Tensors:
    """Of an ONNX file. Raises OSError, ValueError for what is none."""
    fields = [value for number, value in _fields(memoryview(file.read_bytes())) if number == _GRAPH]
    if len(fields) != 1:
        raise ValueError("it has no graph")
    graph = list(_fields(fields[0]))
    weights = {_text(v, _NAME_OF_TENSOR) for number, v in graph if number == _INITIALIZER}
    inputs = [_tensor(value) for number, value in graph if number == _INPUT]
    outputs = [_tensor(value) for number, value in graph if number == _OUTPUT]
    return Tensors(
        inputs={name: shape for name, shape in inputs if name not in weights}, outputs=dict(outputs)
    )


def differ(found: dict[str, Any], wanted: Tensors) -> str:
    """What is another in an engine's facts; "" where nothing is.

    `found`: `inputs` and `outputs` [{name, shape}], -1 for an open axis.
    """
    for kind, tensors in (("input", wanted.inputs), ("output", wanted.outputs)):
        rows = {row["name"]: row["shape"] for row in found[f"{kind}s"]}
        if rows.keys() != tensors.keys():
            return f"has the {kind}s {', '.join(rows)}, and the network {', '.join(tensors)}"
        for name, shape in tensors.items():
            if shape is not None and not _fits(rows[name], shape):
                wanted_sides = " x ".join("?" if side is None else str(side) for side in shape)
                here = " x ".join("?" if side < 0 else str(side) for side in rows[name])
                return f"has the {kind} {name} of {here}, and the network of {wanted_sides}"
    return ""


def _fits(found: list[int], wanted: tuple[int | None, ...]) -> bool:
    """An axis that the file leaves open may be settled: the builder infers it."""
    return len(found) == len(wanted) and all(
        side in (None, here) for here, side in zip(found, wanted, strict=True)
    )


def _tensor(data: Any) -> tuple[str, tuple[int | None, ...] | None]:
    shape = None
    for of_type in _all(data, 2):
        for tensor in _all(of_type, 1):
            for held in _all(tensor, 2):
                shape = tuple(next(iter(_all(side, 1)), 0) or None for side in _all(held, 1))
    return _text(data, 1), shape


def _text(data: Any, number: int) -> str:
    return "".join(bytes(value).decode() for value in _all(data, number))


def _all(data: Any, number: int) -> list[Any]:
    if not isinstance(data, memoryview):
        raise ValueError("a number where a message belongs")
    return [value for found, value in _fields(data) if found == number]


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: an int, or the bytes of a text or a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind, value = key & 7, None
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
    if at > len(data):
        raise ValueError("it ends in the middle of a field")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first; the number, and where the next thing begins."""
    number = 0
    for index in range(_LONGEST_NUMBER):
        if at + index >= len(data):
            break
        number |= (data[at + index] & 127) << 7 * index
        if data[at + index] < 128:
            return number, at + index + 1
    raise ValueError("it ends in the middle of a number")
