"""ONNX and TFLite files that contain only headers, written without a library.

They hold inputs, outputs, operators and metadata, but no weights: they can be read, not run.
"""

import io
import struct
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from buildsys.steps.lib.files.tflite_schema import BUILTIN_OPERATORS, TENSOR_TYPES

_ONNX_TYPES = {"float32": 1, "uint8": 2, "float16": 10}
Side = int | str
"""One axis of an ONNX tensor's shape: a number, or the name of an open axis."""


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input or output. `scale` and `zero_point` apply to integers in a TFLite file."""

    name: str
    shape: tuple[Side, ...]
    dtype: str = "float32"
    scale: float = 0.0
    zero_point: int = 0


def picture(height: int = 96, width: int = 160) -> Edge:
    """The image input of an ONNX file."""
    return Edge(name="images", shape=(1, 3, height, width))


def onnx_bytes(
    inputs: Sequence[Edge] = (picture(),),
    outputs: Sequence[Edge] = (Edge(name="output0", shape=(1, 8)),),
    operators: Iterable[str] = ("Conv",),
    metadata: dict[str, str] | None = None,
    external: str = "",
    opset: int = 17,
    ir: int = 8,
    domain: str = "",
    chain: bool = False,
    constants: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """The bytes of an ONNX file. `external`: the file with the weights; `domain`: its operators'
    domain; `chain`: whether each operator takes what the one before it makes, up to the output, and
    the constants; `constants`: names, and fields of their TensorProto.
    """
    place = [field(13, field(1, b"location") + field(2, external.encode()))] if external else []
    weights = field(8, b"weights") + b"".join(place or [field(9, bytes(300))])
    named = list(operators)
    ends = [inputs[0].name, *(f"t{place}" for place in range(len(named) - 1)), outputs[0].name]
    graph = b"".join(
        (
            *(
                field(
                    1,
                    (_linked(ends[place], constants, ends[place + 1]) if chain else b"")
                    + field(4, name.encode())
                    + _text(7, domain),
                )
                for place, name in enumerate(named)
            ),
            field(5, weights),
            *(field(5, _text(8, name) + content) for name, content in constants),
            *(field(11, _value(edge)) for edge in inputs),
            field(11, _value(Edge(name="weights", shape=(4,)))),
            *(field(12, _value(edge)) for edge in outputs),
        )
    )
    words = (metadata or {}).items()
    properties = [field(14, field(1, k.encode()) + field(2, v.encode())) for k, v in words]
    known = field(8, field(2, opset)) if opset else b""
    return field(1, ir) + field(7, graph) + known + b"".join(properties)


def _linked(first: str, constants: Sequence[tuple[str, bytes]], output: str) -> bytes:
    """The inputs and the output of a NodeProto."""
    return b"".join(_text(1, name) for name in (first, *dict(constants))) + _text(2, output)


def _text(number: int, value: str) -> bytes:
    return field(number, value.encode()) if value else b""


def _value(edge: Edge) -> bytes:
    dims = b"".join(
        field(1, field(1, side) if isinstance(side, int) else field(2, side.encode()))
        for side in edge.shape
    )
    tensor = field(1, _ONNX_TYPES[edge.dtype]) + field(2, dims)
    return field(1, edge.name.encode()) + field(2, field(1, tensor))


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protobuf message."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    first, rest = value & 127, value >> 7
    return bytes([first | 128]) + _varint(rest) if rest else bytes([first])


def tflite_bytes(
    inputs: Sequence[Edge] = (Edge(name="images", shape=(1, 96, 160, 3)),),
    outputs: Sequence[Edge] = (Edge(name="output0", shape=(1, 8)),),
    operators: Sequence[str] = ("CONV_2D",),
    metadata: str = "",
    between: Sequence[Edge] = (),
) -> bytes:
    """The bytes of a TFLite file; a shape with -1 is a signature. `metadata`: text in an appended
    archive; `between`: the tensors between the operators, which are then a chain up to the output.
    """
    edges = [*inputs, *outputs, *between]
    numbers = list(range(len(edges)))
    ends = [0, *numbers[len(inputs) + len(outputs) :], len(inputs)]
    links = list(pairwise(ends)) if between else [(0, len(inputs))] * len(operators)
    known = [(name, _number(name)) for name in operators]
    codes = [_Table({0: ("b", min(n, 127)), 1: _code(name, n), 3: ("i", n)}) for name, n in known]
    graph = _Table(
        {
            0: [_tensor(edge) for edge in edges],
            1: numbers[: len(inputs)],
            2: numbers[len(inputs) :][: len(outputs)],
            3: [
                _Table({0: ("I", place), 1: [start], 2: [end]})
                for place, (start, end) in enumerate(links)
            ],
        }
    )
    model = _Table({0: ("I", 3), 1: codes, 2: [graph], 4: [_Table({})]})
    writer = _Writer()
    writer.data += b"\0\0\0\0TFL3"
    struct.pack_into("<I", writer.data, 0, writer.table(model))
    return bytes(writer.data) + (_archive(metadata) if metadata else b"")


def _number(name: str) -> int:
    known = name in BUILTIN_OPERATORS
    return BUILTIN_OPERATORS.index(name if known else "CUSTOM")


def _code(name: str, number: int) -> str:
    return name if BUILTIN_OPERATORS[number] == "CUSTOM" else ""


def _tensor(edge: Edge) -> "_Table":
    shape = [side for side in edge.shape if isinstance(side, int)]
    fields: dict[int, object] = {
        0: [max(side, 1) for side in shape],
        1: ("b", TENSOR_TYPES.index(edge.dtype)),
        3: edge.name,
        7: shape,
    }
    if edge.scale:
        fields[4] = _Table(
            {2: struct.pack("<f", edge.scale), 3: struct.pack("<q", edge.zero_point)}
        )
    return _Table(fields)


def _archive(text: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), text)  # with a fixed time
    return target.getvalue()


@dataclass(frozen=True)
class _Table:
    """Fields by number: (code, number), text, int32 list, list of tables, packed values, or a
    table.
    """

    fields: dict[int, object]


class _Writer:
    """Writes a flatbuffer from its root to its leaves; offsets point forward."""

    def __init__(self) -> None:
        self.data = bytearray()

    def table(self, table: _Table) -> int:
        fields = {number: value for number, value in table.fields.items() if value != ""}
        count = max(fields, default=-1) + 1
        self._align()
        start = len(self.data)
        sizes = [4 + 4 * sorted(fields).index(n) if n in fields else 0 for n in range(count)]
        self.data += struct.pack(f"<HH{count}H", 4 + 2 * count, 4 + 4 * len(fields), *sizes)
        self._align()
        at = len(self.data)
        self.data += struct.pack("<i", at - start) + bytes(4 * len(fields))
        for number, value in fields.items():
            place = at + sizes[number]
            if isinstance(value, tuple):
                struct.pack_into(f"<{value[0]}", self.data, place, value[1])
            else:
                self._point(place, value)
        return at

    def _point(self, place: int, value: object) -> None:
        self._align()
        target = len(self.data)
        if isinstance(value, _Table):
            target = self.table(value)
        elif isinstance(value, str):
            self.data += struct.pack("<I", len(value)) + value.encode() + b"\0"
        elif isinstance(value, bytes):
            width = 8 if len(value) == 8 else 4
            self.data += struct.pack("<I", len(value) // width) + value
        elif isinstance(value, list):
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for index, item in enumerate(value):
                where = target + 4 + 4 * index
                if isinstance(item, int):
                    struct.pack_into("<i", self.data, where, item)
                else:
                    struct.pack_into("<I", self.data, where, self.table(item) - where)
        struct.pack_into("<I", self.data, place, target - place)

    def _align(self) -> None:
        self.data += bytes(-len(self.data) % 4)


MODEL, OTHER = tflite_bytes(), tflite_bytes(metadata="another one")
"""Two files with different digests."""
