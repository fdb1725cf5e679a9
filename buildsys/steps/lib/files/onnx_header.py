"""Read an ONNX file's inputs, outputs, operators and metadata with the standard library.

`check` uses it for given files, without the package onnx. Weights are skipped by their length. The
numbers are those of the file's protobuf messages
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto): ModelProto.ir_version 1, graph 7,
opset_import 8, metadata_props 14, functions 25; OperatorSetIdProto.domain 1, version 2;
GraphProto.node 1, initializer 5, input 11, output 12; NodeProto.input 1, output 2, op_type 4,
attribute 5, domain 7;
AttributeProto.t 5, g 6, graphs 11; FunctionProto.name 1, node 7, domain 10; TensorProto.data_type 2,
float_data 4, name 8, raw_data 9, external_data 13; ValueInfoProto.name 1, type 2; TypeProto.tensor_type 1; Tensor.elem_type 1, shape
2; TensorShapeProto.dim 1; Dimension.dim_value 1.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.files.edge import Edge, find_maker
from buildsys.steps.lib.files.foreign import AGAIN, UnreadableModel, recognize
from buildsys.steps.lib.files.rounding import passed_tensors

_IR, _GRAPH, _OPSET, _METADATA, _FUNCTION = 1, 7, 8, 14, 25
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_TAKES, _MAKES, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_ROUNDING = ("DequantizeLinear", "QuantizeLinear")
"""Operators that round to multiples of their second input."""
_UNCHANGING = (
    *("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"),
    *_ROUNDING,
)
"""Operators that keep the values of their first input, maybe rounded."""
_CONSTANT = 5
_SUBGRAPHS = (6, 11)
_FUNCTION_NAME, _FUNCTION_NODE, _FUNCTION_DOMAIN = 1, 7, 10
_OWN_DOMAIN = "ai.onnx"
"""The domain name of ONNX's own operators; most files omit it."""
_TENSOR_TYPE, _TENSOR_FLOATS, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL = 2, 4, 8, 9, 13
_FLOATS = {1: "f", 10: "e"}
"""Codes of `struct` for the types of scales."""
_USUAL_STEP = 1 / 256
"""Step of probabilities in 8 bits, where the file does not state it as a constant."""
_LONGEST_NUMBER = 10
"""Maximum number of bytes of a varint."""
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
"""TensorProto.DataType, as far as it occurs in images and outputs."""

_Value = int | memoryview
"""A field's value: a number, or the bytes of a text or a message."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The facts of an ONNX file. `operators`: (domain, name) of all operators that the file does
    not define itself, with an empty domain for ONNX's own; `opset`: that of ONNX's own operators,
    None if the file does not state it; `external`: other files that hold its weights; `metadata`:
    the exporter's metadata as text; `makers`: the operator that computes the values of each output,
    empty if none does; `steps`: the step to whose multiples each output is rounded, 0 if it is not;
    `half`: whether it holds numbers in float16.
    """

    ir: int
    opset: int | None
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    operators: tuple[tuple[str, str], ...]
    external: tuple[str, ...]
    metadata: dict[str, str]
    makers: tuple[str, ...]
    steps: tuple[float, ...]
    half: bool


def read_header(file: Path) -> Header:
    """Read the header of an ONNX file. Raises OSError, UnreadableModel."""
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
    functions: list[_Value] = []
    metadata: dict[str, str] = {}
    opset, ir = None, 0
    for number, value in _fields(data):
        if number == _GRAPH:
            graphs.append(value)
        elif number == _FUNCTION:
            functions.append(value)
        elif number == _OPSET and _text(value, 1) in ("", _OWN_DOMAIN):
            opset = _number(value, 2)
        elif number == _IR and isinstance(value, int):
            ir = value
        elif number == _METADATA:
            metadata[_text(value, 1)] = _text(value, 2)
    if len(graphs) != 1:
        raise ValueError("it has no graph")
    weights: dict[str, _Value] = {}
    nodes: list[_Value] = []
    inputs, outputs = [], []
    external: dict[str, None] = {}
    for number, value in _fields(_message(graphs[0])):
        if number == _NODE:
            nodes.append(value)
        elif number == _INITIALIZER:
            weights[_text(value, _TENSOR_NAME)] = value
            for entry in _all(value, _TENSOR_EXTERNAL):
                if _text(entry, 1) == "location":
                    external[_text(entry, 2)] = None
        elif number == _INPUT:
            inputs.append(_edge(value))
        elif number == _OUTPUT:
            outputs.append(_edge(value))
    if not outputs:
        raise ValueError("its graph has no output")
    if not nodes:
        raise UnreadableModel(
            "this is an ONNX file without an operator", "export the network again"
        )
    nodes_by_output = _nodes_by_output(nodes)
    made = {name: (operator, takes[0]) for name, (operator, takes) in nodes_by_output.items()}
    return Header(
        ir=ir,
        opset=opset,
        inputs=tuple(edge for edge in inputs if edge.name not in weights),
        outputs=tuple(outputs),
        operators=_operators(nodes, functions),
        external=tuple(external),
        metadata=metadata,
        makers=tuple(find_maker(edge.name, made, _UNCHANGING) for edge in outputs),
        steps=tuple(_step(edge.name, nodes_by_output, weights) for edge in outputs),
        half=any(edge.dtype == "float16" for edge in (*inputs, *outputs))
        or any(map(_is_half, (*weights.values(), *_constants(nodes)))),
    )


def _nodes_by_output(nodes: list[_Value]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return the operator that makes each tensor, and the tensors that it takes, at least one."""
    made: dict[str, tuple[str, tuple[str, ...]]] = {}
    for node in nodes:
        operator = _text(node, _OPERATOR)
        takes = tuple(bytes(_message(name)).decode() for name in _all(node, _TAKES))
        for name in _all(node, _MAKES):
            made[bytes(_message(name)).decode()] = (operator, takes or ("",))
    return made


def _step(
    output: str,
    nodes: Mapping[str, tuple[str, tuple[str, ...]]],
    weights: Mapping[str, _Value],
) -> float:
    """Return the step to whose multiples an output is rounded; 0 if it is not."""
    made = {name: (operator, takes[0]) for name, (operator, takes) in nodes.items()}
    for tensor in passed_tensors(output, made, _UNCHANGING):
        operator, takes = nodes.get(tensor, ("", ()))
        if operator in _ROUNDING:
            return _scale(weights.get(takes[1])) if len(takes) > 1 else _USUAL_STEP
    return 0.0


def _constants(nodes: list[_Value]) -> Iterator[_Value]:
    """Yield the tensors that nodes hold as attributes; some exporters write all weights so."""
    for node in nodes:
        for attribute in _all(node, _ATTRIBUTE):
            yield from _all(attribute, _CONSTANT)


def _is_half(tensor: _Value) -> bool:
    return _TYPES.get(_number(tensor, _TENSOR_TYPE) or 0) == "float16"


def _scale(tensor: _Value | None) -> float:
    """Return the largest number in a constant tensor; the usual step where it is unknown."""
    code = _FLOATS.get(_number(tensor, _TENSOR_TYPE) or 0) if tensor is not None else None
    if tensor is None or code is None:
        return _USUAL_STEP
    number = _TENSOR_RAW if _all(tensor, _TENSOR_RAW) else _TENSOR_FLOATS
    data = b"".join(bytes(_message(piece)) for piece in _all(tensor, number))
    size = struct.calcsize(code)
    if not data or len(data) % size:
        return _USUAL_STEP
    return float(max(struct.unpack(f"<{len(data) // size}{code}", data)))


def _operators(nodes: list[_Value], functions: list[_Value]) -> tuple[tuple[str, str], ...]:
    """Return the operators of all graphs, including those in `If`, `Loop` and the file's own
    functions.
    """
    found: set[tuple[str, str]] = set()
    defined = set()
    left = list(nodes)
    for function in functions:
        defined.add((_text(function, _FUNCTION_DOMAIN), _text(function, _FUNCTION_NAME)))
        left += _all(function, _FUNCTION_NODE)
    while left:
        name = domain = ""
        for number, value in _fields(_message(left.pop())):
            if number == _OPERATOR:
                name = bytes(_message(value)).decode()
            elif number == _DOMAIN:
                domain = bytes(_message(value)).decode()
            elif number == _ATTRIBUTE:
                graphs = (part for field, part in _fields(_message(value)) if field in _SUBGRAPHS)
                for graph in graphs:
                    left += _all(graph, _NODE)
        found.add(("" if domain == _OWN_DOMAIN else domain, name))
    return tuple(sorted(found - defined))


def _edge(data: _Value) -> Edge:
    shape, dtype = None, 0
    for of_type in _all(data, 2):
        for tensor in _all(of_type, 1):
            dtype = next((n for n in _all(tensor, 1) if isinstance(n, int)), 0)
            for held in _all(tensor, 2):
                shape = tuple(_side(axis) for axis in _all(held, 1))
    return Edge(name=_text(data, 1), shape=shape, dtype=_TYPES.get(dtype, f"type {dtype}"))


def _number(data: _Value, number: int) -> int | None:
    return next((value for value in _all(data, number) if isinstance(value, int)), None)


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
    """Yield number and value of each field."""
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
    """Return a varint (seven bits per byte, lowest first) and the offset after it."""
    number = 0
    for index in range(_LONGEST_NUMBER):
        if at + index >= len(data):
            break
        number |= (data[at + index] & 127) << 7 * index
        if data[at + index] < 128:
            return number, at + index + 1
    raise ValueError("it ends in the middle of a number")
