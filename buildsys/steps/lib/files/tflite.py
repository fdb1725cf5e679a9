"""Reading a TFLite file: tensors at its edges, operators, what stands in it; by the standard library.

`check` reads files that people give with it, where no LiteRT is, and every step after that: one
reader, whose every step is checked. The file is one flatbuffer; numbers of its fields are those of
the schema's tables (see `tflite_schema`).
"""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.files.flatbuffer import OUTSIDE, FlatBuffer
from buildsys.steps.lib.files.foreign import AGAIN, UnreadableModel, recognize, sentence
from buildsys.steps.lib.files.tflite_schema import BUILTIN_OPERATORS, TENSOR_TYPES
from buildsys.steps.lib.runtime.progress import fail

_CODES, _SUBGRAPHS, _BUFFERS, _SIGNATURES = 1, 2, 4, 7
"""Fields of Model."""
_TENSORS, _INPUTS, _OUTPUTS, _OPERATORS = 0, 1, 2, 3
"""Fields of SubGraph."""
_SHAPE, _TYPE, _BUFFER, _NAME, _QUANTIZATION, _SHAPE_SIGNATURE = 0, 1, 2, 3, 4, 7
"""Fields of Tensor."""
_SCALES, _ZERO_POINTS = 2, 3
"""Fields of QuantizationParameters."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: signature name (else the tensor's), shape, dtype, quantization."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """What a TFLite file says of itself; `operators` counts by name, custom ones by their code.

    `signatures`: the shapes of its inputs with -1 for an axis that is left open.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[tuple[str, int], ...]
    signatures: tuple[tuple[int, ...], ...] = ()


def parse(data: bytes) -> File:
    """Inputs, outputs in file order, operators. Raises UnreadableModel."""
    flat, model = _open(data)
    with _inside(data):
        return _describe(flat, model)


def _describe(flat: FlatBuffer, model: int) -> File:
    graph = flat.tables(flat.field(model, _SUBGRAPHS))[0]
    tensors, names = flat.tables(flat.field(graph, _TENSORS)), _signature_names(flat, model)
    counts: dict[str, int] = {}
    for operator in flat.tables(flat.field(graph, _OPERATORS)):
        name = _operator_name(flat, model, operator)
        counts[name] = counts.get(name, 0) + 1
    given = flat.integers(flat.field(graph, _INPUTS))
    return File(
        inputs=tuple(_tensor(flat, tensors, index, names) for index in given),
        outputs=tuple(
            _tensor(flat, tensors, index, names)
            for index in flat.integers(flat.field(graph, _OUTPUTS))
        ),
        operators=tuple(sorted(counts.items())),
        signatures=tuple(_signature_shape(flat, tensors[index]) for index in given),
    )


def read(path: Path) -> File:
    """The same of a file; ends the step where it is none."""
    try:
        return parse(path.read_bytes())
    except UnreadableModel as error:
        fail(sentence(path, error))
        raise  # `fail` has raised already


def demand_tflite(path: Path) -> None:
    """End the step when a file is no TFLite file, or not all of one."""
    read(path)


def read_operators(path: Path) -> dict[str, tuple[str, ...]]:
    """{operator: the layers that it came from}, layers named by their first output's tensor."""
    with _demanded(path) as (flat, model):
        return _layers(flat, model)


def _layers(flat: FlatBuffer, model: int) -> dict[str, tuple[str, ...]]:
    layers: dict[str, tuple[str, ...]] = {}
    for graph in flat.tables(flat.field(model, _SUBGRAPHS)):
        tensors = flat.tables(flat.field(graph, _TENSORS))
        for place, operator in enumerate(flat.tables(flat.field(graph, _OPERATORS))):
            name = _operator_name(flat, model, operator)
            outputs = flat.integers(flat.field(operator, 2))
            name_of = flat.text(flat.field(tensors[outputs[0]], _NAME)) if outputs else f"#{place}"
            layer = name_of.partition(";")[0]  # fused layers are joined by semicolons
            layers[name] = (*layers.get(name, ()), layer)
    return dict(sorted(layers.items()))


def read_payloads(path: Path, custom: str) -> tuple[bytes, ...]:
    """The first input's content of every custom operator of that code."""
    with _demanded(path) as (flat, model):
        return _payloads(flat, model, custom)


def _payloads(flat: FlatBuffer, model: int, custom: str) -> tuple[bytes, ...]:
    graph = flat.tables(flat.field(model, _SUBGRAPHS))[0]
    tensors = flat.tables(flat.field(graph, _TENSORS))
    buffers = flat.tables(flat.field(model, _BUFFERS))
    found = []
    for operator in flat.tables(flat.field(graph, _OPERATORS)):
        inputs = flat.integers(flat.field(operator, 1))
        if _operator_name(flat, model, operator) == custom and inputs:
            buffer = buffers[flat.scalar(tensors[inputs[0]], _BUFFER, "I")]
            found.append(flat.content(flat.field(buffer, 0)))
    return tuple(found)


def reorder_outputs(data: bytes, order: tuple[int, ...]) -> bytes:
    """The file with its outputs in another order: `order` has places of today's outputs.

    Only the list of indices is rewritten; every other byte stays.
    """
    flat, model = _open(data)
    graph = flat.tables(flat.field(model, _SUBGRAPHS))[0]
    start, count = flat.vector(flat.field(graph, _OUTPUTS), 4)
    indices = flat.integers(flat.field(graph, _OUTPUTS))
    changed = bytearray(data)
    struct.pack_into(f"<{count}i", changed, start, *(indices[place] for place in order))
    return bytes(changed)


@contextlib.contextmanager
def _demanded(path: Path) -> Iterator[tuple[FlatBuffer, int]]:
    """The file and its Model; ends the step where it is none."""
    data = path.read_bytes()
    try:
        with _inside(data):
            yield _open(data)
    except UnreadableModel as error:
        fail(sentence(path, error))


def _open(data: bytes) -> tuple[FlatBuffer, int]:
    """The file and its Model, walked once: whatever is read later lies inside."""
    if len(data) < 8 or data[4:8] != b"TFL3":
        known = recognize(data[:512])
        what = f"this is not a TFLite file ({len(data)} bytes, no TFL3 at byte 4)"
        raise UnreadableModel(*(known or (what, "was another file meant?")))
    flat = FlatBuffer(data)
    with _inside(data):
        return flat, _walk(flat)


@contextlib.contextmanager
def _inside(data: bytes) -> Iterator[None]:
    """A read that leads out of the file is damage."""
    try:
        yield
    except (*OUTSIDE, IndexError) as error:
        what = f"the file is damaged or cut off ({len(data)} bytes)"
        raise UnreadableModel(what, AGAIN) from error


def _walk(file: FlatBuffer) -> int:
    """Offset of the Model; raises what a read outside raises."""
    model = file.number(0, "I")
    codes = file.tables(file.field(model, _CODES))
    for code in codes:
        file.vector(file.field(code, 1), 1)
    buffers = file.tables(file.field(model, _BUFFERS))
    subgraphs = file.tables(file.field(model, _SUBGRAPHS))
    if not subgraphs:
        raise ValueError("no graph")
    for buffer in buffers:
        file.vector(file.field(buffer, 0), 1)
        size = file.scalar(buffer, 2, "Q")  # of weights that stand behind the flatbuffer
        if size and file.scalar(buffer, 1, "Q") + size > len(file.data):
            raise ValueError("behind the file's end")
    for graph in subgraphs:
        _walk_graph(file, graph, len(codes), len(buffers))
    for _, index in _signature_entries(file, model):
        if index < 0:
            raise ValueError("no such tensor")
    return model


def _walk_graph(file: FlatBuffer, graph: int, codes: int, buffers: int) -> None:
    tensors = file.tables(file.field(graph, _TENSORS))
    for tensor in tensors:
        for field, width in ((_SHAPE, 4), (_NAME, 1), (_SHAPE_SIGNATURE, 4)):
            file.vector(file.field(tensor, field), width)
        quantization = file.table(file.field(tensor, _QUANTIZATION))
        if quantization:
            file.vector(file.field(quantization, _SCALES), 4)
            file.vector(file.field(quantization, _ZERO_POINTS), 8)
        if file.scalar(tensor, _BUFFER, "I") >= max(buffers, 1):
            raise ValueError("no such buffer")
    used = file.integers(file.field(graph, _INPUTS)) + file.integers(file.field(graph, _OUTPUTS))
    if any(index < 0 for index in used):
        raise ValueError("no such tensor")
    for operator in file.tables(file.field(graph, _OPERATORS)):
        used += file.integers(file.field(operator, 1)) + file.integers(file.field(operator, 2))
        if file.scalar(operator, 0, "I") >= codes:
            raise ValueError("no such operator")
    if any(index >= len(tensors) or index < -1 for index in used):
        raise ValueError("no such tensor")


def _tensor(flat: FlatBuffer, tensors: list[int], index: int, names: dict[int, str]) -> Tensor:
    tensor = tensors[index]
    quantization = flat.table(flat.field(tensor, _QUANTIZATION))
    scales = flat.floats(flat.field(quantization, _SCALES)) if quantization else []
    zeros = flat.longs(flat.field(quantization, _ZERO_POINTS)) if scales else []
    number = flat.scalar(tensor, _TYPE, "b")
    return Tensor(
        name=names.get(index) or flat.text(flat.field(tensor, _NAME)),
        shape=tuple(flat.integers(flat.field(tensor, _SHAPE))),
        dtype=TENSOR_TYPES[number] if number < len(TENSOR_TYPES) else f"type {number}",
        scales=tuple(scales),
        zero_points=tuple(zeros),
    )


def _signature_shape(flat: FlatBuffer, tensor: int) -> tuple[int, ...]:
    """The shape with -1 for an open axis; what has no signature is as it is."""
    signature = flat.integers(flat.field(tensor, _SHAPE_SIGNATURE))
    return tuple(signature or flat.integers(flat.field(tensor, _SHAPE)))


def _signature_names(flat: FlatBuffer, model: int) -> dict[int, str]:
    """{tensor index: the name that the signature gives it}."""
    return {index: name for name, index in _signature_entries(flat, model)}


def _signature_entries(flat: FlatBuffer, model: int) -> Iterator[tuple[str, int]]:
    for signature in flat.tables(flat.field(model, _SIGNATURES)):
        for side in (0, 1):
            for entry in flat.tables(flat.field(signature, side)):
                yield flat.text(flat.field(entry, 0)), flat.scalar(entry, 1, "I")


def _operator_name(flat: FlatBuffer, model: int, operator: int) -> str:
    """The schema's name, or a custom operator's own code."""
    code = flat.tables(flat.field(model, _CODES))[flat.scalar(operator, 0, "I")]
    number = max(flat.scalar(code, 3, "i"), flat.scalar(code, 0, "b"))
    known = number < len(BUILTIN_OPERATORS)
    name = BUILTIN_OPERATORS[number] if known else f"operator {number}"
    return flat.text(flat.field(code, 1)) if name == "CUSTOM" else name
