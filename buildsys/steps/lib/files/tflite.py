"""Read a TFLite file's inputs, outputs, operators and contents with the standard library.

`check` uses it for given files, without LiteRT, and so do all steps: one reader that checks every
access. The file is one flatbuffer; field numbers are those of the schema's tables (see
`tflite_schema`).
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.files.edge import find_maker
from buildsys.steps.lib.files.flatbuffer import FlatBuffer
from buildsys.steps.lib.files.tflite_bounds import (
    BUFFER,
    BUFFERS,
    CODES,
    INPUTS,
    NAME,
    OPERATORS,
    OUTPUTS,
    QUANTIZATION,
    SCALES,
    SHAPE,
    SHAPE_SIGNATURE,
    SUBGRAPHS,
    TENSORS,
    TYPE,
    ZERO_POINTS,
    demanded,
    inside,
    open_flatbuffer,
    signature_entries,
)
from buildsys.steps.lib.files.tflite_schema import BUILTIN_OPERATORS, TENSOR_TYPES

UNCHANGING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "TRANSPOSE")
"""Operators that keep the values of their first input."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: signature name (otherwise the tensor's name), shape, dtype, quantization."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """The facts of a TFLite file; `operators`: counts by name, custom operators by their code.
    `signatures`: shapes of the inputs, with -1 for a dynamic axis. `makers`: the operator that computes the
    values of each output, empty if none does.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[tuple[str, int], ...]
    signatures: tuple[tuple[int, ...], ...] = ()
    makers: tuple[str, ...] = ()


def parse(data: bytes) -> File:
    """Return inputs, outputs in file order, and operators. Raises UnreadableModel."""
    flat, model = open_flatbuffer(data)
    with inside(data):
        return _describe(flat, model)


def _describe(flat: FlatBuffer, model: int) -> File:
    graph = flat.tables(flat.field(model, SUBGRAPHS))[0]
    tensors, names = flat.tables(flat.field(graph, TENSORS)), _signature_names(flat, model)
    counts: dict[str, int] = {}
    made: dict[int, tuple[str, int]] = {}
    for operator in flat.tables(flat.field(graph, OPERATORS)):
        name = operator_name(flat, model, operator)
        counts[name] = counts.get(name, 0) + 1
        takes = flat.integers(flat.field(operator, 1))
        for index in flat.integers(flat.field(operator, 2)):
            made[index] = (name, takes[0] if takes else -1)
    given = flat.integers(flat.field(graph, INPUTS))
    outputs = flat.integers(flat.field(graph, OUTPUTS))
    return File(
        inputs=tuple(read_tensor(flat, tensors, index, names) for index in given),
        outputs=tuple(read_tensor(flat, tensors, index, names) for index in outputs),
        operators=tuple(sorted(counts.items())),
        signatures=tuple(_signature_shape(flat, tensors[index]) for index in given),
        makers=tuple(find_maker(index, made, UNCHANGING) for index in outputs),
    )


def read(path: Path) -> File:
    """Read a file; ends the step if it is not a TFLite file."""
    with demanded(path) as (flat, model):
        return _describe(flat, model)


def read_operators(path: Path) -> dict[str, tuple[str, ...]]:
    """Return {operator: the layers that it came from}; layers are named by their first output's
    tensor.
    """
    with demanded(path) as (flat, model):
        return _layers(flat, model)


def _layers(flat: FlatBuffer, model: int) -> dict[str, tuple[str, ...]]:
    layers: dict[str, tuple[str, ...]] = {}
    for graph in flat.tables(flat.field(model, SUBGRAPHS)):
        tensors = flat.tables(flat.field(graph, TENSORS))
        for place, operator in enumerate(flat.tables(flat.field(graph, OPERATORS))):
            name = operator_name(flat, model, operator)
            outputs = flat.integers(flat.field(operator, 2))
            name_of = flat.text(flat.field(tensors[outputs[0]], NAME)) if outputs else f"#{place}"
            layer = name_of.partition(";")[0]  # names of fused layers are joined by semicolons
            layers[name] = (*layers.get(name, ()), layer)
    return dict(sorted(layers.items()))


def computes_in_integers(path: Path) -> bool:
    """Return whether every operator computes integers, except those that dequantize."""
    with demanded(path) as (flat, model):
        return _computes_in_integers(flat, model)


def _computes_in_integers(flat: FlatBuffer, model: int) -> bool:
    for graph in flat.tables(flat.field(model, SUBGRAPHS)):
        tensors = flat.tables(flat.field(graph, TENSORS))
        for operator in flat.tables(flat.field(graph, OPERATORS)):
            if operator_name(flat, model, operator) == "DEQUANTIZE":
                continue
            made = [index for index in flat.integers(flat.field(operator, 2)) if index >= 0]
            if any(_type(flat, tensors[index]).startswith("float") for index in made):
                return False
    return True


def read_payloads(path: Path, custom: str) -> tuple[bytes, ...]:
    """Return the content of the first input of every custom operator with that code."""
    with demanded(path) as (flat, model):
        return _payloads(flat, model, custom)


def _payloads(flat: FlatBuffer, model: int, custom: str) -> tuple[bytes, ...]:
    graph = flat.tables(flat.field(model, SUBGRAPHS))[0]
    tensors = flat.tables(flat.field(graph, TENSORS))
    buffers = flat.tables(flat.field(model, BUFFERS))
    found = []
    for operator in flat.tables(flat.field(graph, OPERATORS)):
        inputs = flat.integers(flat.field(operator, 1))
        if operator_name(flat, model, operator) == custom and inputs:
            buffer = buffers[flat.scalar(tensors[inputs[0]], BUFFER, "I")]
            found.append(flat.content(flat.field(buffer, 0)))
    return tuple(found)


def reorder_outputs(data: bytes, order: tuple[int, ...]) -> bytes:
    """Return the file with its outputs reordered: `order` holds indices of the present outputs.
    Only the list of indices is rewritten; every other byte stays the same.
    """
    flat, model = open_flatbuffer(data)
    graph = flat.tables(flat.field(model, SUBGRAPHS))[0]
    start, count = flat.vector(flat.field(graph, OUTPUTS), 4)
    indices = flat.integers(flat.field(graph, OUTPUTS))
    changed = bytearray(data)
    struct.pack_into(f"<{count}i", changed, start, *(indices[place] for place in order))
    return bytes(changed)


def read_tensor(flat: FlatBuffer, tensors: list[int], index: int, names: dict[int, str]) -> Tensor:
    """Return a tensor of a graph; `names`: those of the signature, by index."""
    tensor = tensors[index]
    quantization = flat.table(flat.field(tensor, QUANTIZATION))
    scales = flat.floats(flat.field(quantization, SCALES)) if quantization else []
    zeros = flat.longs(flat.field(quantization, ZERO_POINTS)) if scales else []
    return Tensor(
        name=names.get(index) or flat.text(flat.field(tensor, NAME)),
        shape=tuple(flat.integers(flat.field(tensor, SHAPE))),
        dtype=_type(flat, tensor),
        scales=tuple(scales),
        zero_points=tuple(zeros),
    )


def _type(flat: FlatBuffer, tensor: int) -> str:
    number = flat.scalar(tensor, TYPE, "b")
    return TENSOR_TYPES[number] if number < len(TENSOR_TYPES) else f"type {number}"


def _signature_shape(flat: FlatBuffer, tensor: int) -> tuple[int, ...]:
    """Return the shape with -1 for a dynamic axis; a tensor without such data keeps its shape."""
    signature = flat.integers(flat.field(tensor, SHAPE_SIGNATURE))
    return tuple(signature or flat.integers(flat.field(tensor, SHAPE)))


def _signature_names(flat: FlatBuffer, model: int) -> dict[int, str]:
    """Return {tensor index: its name in the signature}."""
    return {index: name for name, index in signature_entries(flat, model)}


def operator_name(flat: FlatBuffer, model: int, operator: int) -> str:
    """Return the operator's name in the schema, or a custom operator's code."""
    code = flat.tables(flat.field(model, CODES))[flat.scalar(operator, 0, "I")]
    number = max(flat.scalar(code, 3, "i"), flat.scalar(code, 0, "b"))
    known = number < len(BUILTIN_OPERATORS)
    name = BUILTIN_OPERATORS[number] if known else f"operator {number}"
    return flat.text(flat.field(code, 1)) if name == "CUSTOM" else name
