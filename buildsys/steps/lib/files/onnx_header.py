"""What an ONNX file says of itself, read by the standard library: edges, operators, metadata.

`check` reads files that people give with it, where no onnx is. Weights are passed over by their
length. The numbers are those of the file's protobuf messages
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.graph 7, opset_import 8,
metadata_props 14; GraphProto.node 1, initializer 5, input 11, output 12; NodeProto.op_type 4;
TensorProto.name 8, external_data 13; ValueInfoProto.name 1, type 2; TypeProto.tensor_type 1;
Tensor.elem_type 1, shape 2; TensorShapeProto.dim 1; Dimension.dim_value 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.foreign import AGAIN, UnreadableModel, recognize

_GRAPH, _METADATA = 7, 14
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_OPERATOR = 4
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, 13
_LONGEST_NUMBER = 10
"""Bytes of a varint."""
_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
}
"""TensorProto.DataType, as far as images and outputs come in it."""

_Value = int | memoryview
"""A field's: a number, or the bytes of a text or a message."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """`external`: files beside it that hold its weights; `metadata`: what exporters write, as text."""

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    operators: frozenset[str]
    external: tuple[str, ...]
    metadata: dict[str, str]


def read_header(file: Path) -> Header:
    """Of an ONNX file. Raises OSError, UnreadableModel."""
    data = file.read_bytes()
    known = recognize(data[:512])
    if known is not None:
        raise UnreadableModel(*known)
    try:
        return _parse(memoryview(data))
    except ValueError as error:
        cut = "ends in the middle" in str(error)
        what = (
            f"the file is damaged or cut off ({len(data)} bytes)"
            if cut
            else f"this is not an ONNX file ({len(data)} bytes)"
        )
        raise UnreadableModel(what, AGAIN if cut else "was another file meant?") from error


def _parse(data: memoryview) -> Header:
    graphs: list[_Value] = []
    metadata: dict[str, str] = {}
    for number, value in _fields(data):
        if number == _GRAPH:
            graphs.append(value)
        elif number == _METADATA:
            metadata[_text(value, 1)] = _text(value, 2)
    if len(graphs) != 1:
        raise ValueError("it has no graph")
    weights: set[str] = set()
    inputs, outputs, operators = [], [], set()
    external: dict[str, None] = {}
    for number, value in _fields(_message(graphs[0])):
        if number == _NODE:
            operators.add(_text(value, _OPERATOR))
        elif number == _INITIALIZER:
            weights.add(_text(value, _TENSOR_NAME))
            for entry in _all(value, _TENSOR_EXTERNAL):
                if _text(entry, 1) == "location":
                    external[_text(entry, 2)] = None
        elif number == _INPUT:
            inputs.append(_edge(value))
        elif number == _OUTPUT:
            outputs.append(_edge(value))
    if not outputs:
        raise ValueError("its graph has no output")
    return Header(
        inputs=tuple(edge for edge in inputs if edge.name not in weights),
        outputs=tuple(outputs),
        operators=frozenset(operators),
        external=tuple(external),
        metadata=metadata,
    )


def _edge(data: _Value) -> Edge:
    shape, dtype = None, 0
    for of_type in _all(data, 2):
        for tensor in _all(of_type, 1):
            dtype = next((n for n in _all(tensor, 1) if isinstance(n, int)), 0)
            for held in _all(tensor, 2):
                shape = tuple(_side(axis) for axis in _all(held, 1))
    return Edge(name=_text(data, 1), shape=shape, dtype=_TYPES.get(dtype, f"type {dtype}"))


def _side(axis: _Value) -> int | None:
    value = next(iter(_all(axis, 1)), 0)
    return value if isinstance(value, int) and 0 < value < 1 << 62 else None


def _text(data: _Value, number: int) -> str:
    return "".join(bytes(_message(piece)).decode() for piece in _all(data, number))


def _all(data: _Value, number: int) -> list[_Value]:
    return [value for found, value in _fields(_message(data)) if found == number]


def _message(value: _Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a text or a message belongs")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, _Value]]:
    """Number and value of each field."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
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
