"""Model files that people bring: readable, whole, and opened with a sentence where they are not.

The bounds of a TFLite file are walked here, because its readers end in a segmentation fault. Only
the standard library at module level: every environment can ask.
"""

import struct
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

_BUFFERS, _SUBGRAPHS, _OPERATOR_CODES = 4, 2, 1
"""Numbers of fields in the schema's Model."""


def demand_tflite(path: Path) -> None:
    """End the step when a file is no TFLite file, or not all of one."""
    data = path.read_bytes()
    if len(data) < 8 or data[4:8] != b"TFL3":
        fail(f"{_name(path)} is not a TFLite file ({len(data)} bytes, no TFL3 at byte 4).")
    try:
        _walk(FlatBuffer(data))
    except (struct.error, ValueError):
        fail(f"{_name(path)} is damaged or cut off ({len(data)} bytes): bring it again.")


def load_onnx(path: Path) -> Any:
    """The file's ModelProto; ends the step when it is none."""
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:
        fail(f"{_name(path)} is not a readable ONNX file: {_first_line(error)}")
    if not model.graph.node:
        fail(
            f"{_name(path)} is not an ONNX file with a network in it ({path.stat().st_size} bytes)."
        )
    return model


def open_session(path: Path, options: Any = None) -> Any:
    """An onnxruntime session on the CPU; ends the step when the file cannot be run."""
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        fail(f"onnxruntime cannot run {_name(path)}: {_first_line(error)}")


def _name(path: Path) -> str:
    """What the user calls the file: an input is a link to it."""
    return path.resolve().name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class FlatBuffer:
    """A flatbuffer whose every read is checked; raises ValueError or struct.error outside."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, place: int, code: str) -> int:
        if place < 0:
            raise ValueError("before the file's start")
        (value,) = struct.unpack_from("<" + code, self.data, place)
        return int(value)

    def field(self, table: int, index: int) -> int:
        """Where a table's field stands; 0 where it is left out."""
        entries = table - self.number(table, "i")
        offset = 4 + 2 * index
        if offset >= self.number(entries, "H"):
            return 0
        relative = self.number(entries + offset, "H")
        return table + relative if relative else 0

    def vector(self, place: int, width: int) -> tuple[int, int]:
        """Start and length of the vector that a field points to."""
        if not place:
            return 0, 0
        start = place + self.number(place, "I")
        count = self.number(start, "I")
        if start + 4 + count * width > len(self.data):
            raise ValueError("behind the file's end")
        return start + 4, count

    def tables(self, place: int) -> list[int]:
        """The tables of a vector of them."""
        start, count = self.vector(place, 4)
        return [at + self.number(at, "I") for at in range(start, start + 4 * count, 4)]

    def integers(self, place: int) -> list[int]:
        start, count = self.vector(place, 4)
        return [self.number(at, "i") for at in range(start, start + 4 * count, 4)]


def _walk(file: FlatBuffer) -> None:
    model = file.number(0, "I")
    codes = file.tables(file.field(model, _OPERATOR_CODES))
    buffers = file.tables(file.field(model, _BUFFERS))
    subgraphs = file.tables(file.field(model, _SUBGRAPHS))
    if not subgraphs:
        raise ValueError("no graph")
    for buffer in buffers:
        file.vector(file.field(buffer, 0), 1)
    for graph in subgraphs:
        _walk_graph(file, graph, len(codes), len(buffers))


def _walk_graph(file: FlatBuffer, graph: int, codes: int, buffers: int) -> None:
    tensors = file.tables(file.field(graph, 0))
    for tensor in tensors:
        file.vector(file.field(tensor, 0), 4)
        file.vector(file.field(tensor, 3), 1)
        buffer = file.field(tensor, 2)
        if buffer and file.number(buffer, "I") >= buffers:
            raise ValueError("no such buffer")
    used = file.integers(file.field(graph, 1)) + file.integers(file.field(graph, 2))
    for operator in file.tables(file.field(graph, 3)):
        used += file.integers(file.field(operator, 1)) + file.integers(file.field(operator, 2))
        code = file.field(operator, 0)
        if (file.number(code, "I") if code else 0) >= codes:
            raise ValueError("no such operator")
    if any(index >= len(tensors) or index < -1 for index in used):
        raise ValueError("no such tensor")
