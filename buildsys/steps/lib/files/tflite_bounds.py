"""Open a TFLite file and check every offset in it once, so that later readers stay inside the file.

The usual readers crash on damaged files. Only the standard library is used.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from buildsys.steps.lib.files.flatbuffer import OUTSIDE, FlatBuffer
from buildsys.steps.lib.files.foreign import AGAIN, UnreadableModel, recognize, sentence
from buildsys.steps.lib.runtime.progress import fail

CODES, SUBGRAPHS, BUFFERS, SIGNATURES = 1, 2, 4, 7
"""Fields of Model."""
TENSORS, INPUTS, OUTPUTS, OPERATORS = 0, 1, 2, 3
"""Fields of SubGraph."""
SHAPE, TYPE, BUFFER, NAME, QUANTIZATION, SHAPE_SIGNATURE = 0, 1, 2, 3, 4, 7
"""Fields of Tensor."""
SCALES, ZERO_POINTS = 2, 3
"""Fields of QuantizationParameters."""


def demand_tflite(path: Path) -> None:
    """End the step if a file is not a TFLite file, or is truncated."""
    with demanded(path):
        pass


@contextlib.contextmanager
def demanded(path: Path) -> Iterator[tuple[FlatBuffer, int]]:
    """Yield the file and its Model; ends the step if it is not a TFLite file."""
    data = path.read_bytes()
    try:
        with inside(data):
            yield open_flatbuffer(data)
    except UnreadableModel as error:
        fail(sentence(path, error))


def open_flatbuffer(data: bytes) -> tuple[FlatBuffer, int]:
    """Return the file and its Model after checking every offset once."""
    if len(data) < 8 or data[4:8] != b"TFL3":
        known = recognize(data[:512])
        what = f"this is not a TFLite file ({len(data)} bytes, no TFL3 at byte 4)"
        raise UnreadableModel(*(known or (what, "was another file meant?")))
    flat = FlatBuffer(data)
    with inside(data):
        return flat, _walk(flat)


@contextlib.contextmanager
def inside(data: bytes) -> Iterator[None]:
    """Report a read outside the file as a damaged file."""
    try:
        yield
    except (*OUTSIDE, IndexError) as error:
        what = f"the file is damaged or cut off ({len(data)} bytes)"
        raise UnreadableModel(what, AGAIN) from error


def _walk(file: FlatBuffer) -> int:
    """Return the offset of the Model; raises `OUTSIDE` exceptions."""
    model = file.number(0, "I")
    codes = file.tables(file.field(model, CODES))
    for code in codes:
        file.vector(file.field(code, 1), 1)
    buffers = file.tables(file.field(model, BUFFERS))
    subgraphs = file.tables(file.field(model, SUBGRAPHS))
    if not subgraphs:
        raise ValueError("no graph")
    for buffer in buffers:
        file.vector(file.field(buffer, 0), 1)
        size = file.scalar(buffer, 2, "Q")  # for weights after the flatbuffer
        if size and file.scalar(buffer, 1, "Q") + size > len(file.data):
            raise ValueError("behind the file's end")
    for graph in subgraphs:
        _walk_graph(file, graph, len(codes), len(buffers))
    for _, index in signature_entries(file, model):
        if index < 0:
            raise ValueError("no such tensor")
    return model


def _walk_graph(file: FlatBuffer, graph: int, codes: int, buffers: int) -> None:
    tensors = file.tables(file.field(graph, TENSORS))
    for tensor in tensors:
        for field, width in ((SHAPE, 4), (NAME, 1), (SHAPE_SIGNATURE, 4)):
            file.vector(file.field(tensor, field), width)
        quantization = file.table(file.field(tensor, QUANTIZATION))
        if quantization:
            file.vector(file.field(quantization, SCALES), 4)
            file.vector(file.field(quantization, ZERO_POINTS), 8)
        if file.scalar(tensor, BUFFER, "I") >= max(buffers, 1):
            raise ValueError("no such buffer")
    used = file.integers(file.field(graph, INPUTS)) + file.integers(file.field(graph, OUTPUTS))
    if any(index < 0 for index in used):
        raise ValueError("no such tensor")
    for operator in file.tables(file.field(graph, OPERATORS)):
        used += file.integers(file.field(operator, 1)) + file.integers(file.field(operator, 2))
        if file.scalar(operator, 0, "I") >= codes:
            raise ValueError("no such operator")
    if any(index >= len(tensors) or index < -1 for index in used):
        raise ValueError("no such tensor")


def signature_entries(flat: FlatBuffer, model: int) -> Iterator[tuple[str, int]]:
    for signature in flat.tables(flat.field(model, SIGNATURES)):
        for side in (0, 1):
            for entry in flat.tables(flat.field(signature, side)):
                yield flat.text(flat.field(entry, 0)), flat.scalar(entry, 1, "I")
