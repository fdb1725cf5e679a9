"""Facts about an engine, and whether they match the network that it was built from."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated

from buildsys.escaping import one_line
from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.onnx_header import Header
from buildsys.typed_json import decode

_LONGEST_WORDS = 200
_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,7}", re.ASCII)


def check_words(text: str) -> None:
    """Raise ValueError for a text that is not one line: foreign names appear in READMEs and
    reports.
    """
    if len(text) > _LONGEST_WORDS or one_line(text) != text:
        raise ValueError("it is too long, or not one line of text")


def check_version(text: str) -> None:
    """Raise ValueError for a text that is not a release number."""
    if not _VERSION.fullmatch(text):
        raise ValueError("it is not a version")


def check_any(rows: tuple[object, ...]) -> None:
    """Raise ValueError for an empty tuple."""
    if not rows:
        raise ValueError("it is empty")


Words = Annotated[str, check_words]
Version = Annotated[str, check_version]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of an engine; -1 for an open axis."""

    name: Words
    dtype: Words
    shape: tuple[int, ...]


Tensors = Annotated[tuple[Tensor, ...], check_any]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """The part of facts.json that packages read; written by the machine that built the engine."""

    library: Words
    version: Version
    compute_capability: Words
    gpu: Words
    system: Words
    inputs: Tensors
    outputs: Tensors


def read_facts(value: Mapping[str, object]) -> EngineFacts:
    """Return the facts in a facts.json, which may contain more.

    Raises ValueError if they are invalid.
    """
    names = {field.name for field in fields(EngineFacts)}
    return decode(EngineFacts, {name: each for name, each in value.items() if name in names})


def differ(inputs: Iterable[Tensor], outputs: Iterable[Tensor], wanted: Header) -> str:
    """Return how an engine's tensors differ from its network's; "" if they match."""
    sides: tuple[tuple[str, Iterable[Tensor], Iterable[Edge]], ...] = (
        ("input", inputs, wanted.inputs),
        ("output", outputs, wanted.outputs),
    )
    for kind, found, edges in sides:
        tensors = {edge.name: edge.shape for edge in edges}
        rows = {tensor.name: tensor.shape for tensor in found}
        if rows.keys() != tensors.keys():
            return f"has the {kind}s {', '.join(rows)}, but the network has {', '.join(tensors)}"
        for name, shape in tensors.items():
            if shape is not None and not _fits(rows[name], shape):
                wanted_sides = " x ".join("?" if side is None else str(side) for side in shape)
                here = " x ".join("?" if side < 0 else str(side) for side in rows[name])
                return f"has the {kind} {name} of {here}, but the network has {wanted_sides}"
    return ""


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Compare shapes; the builder may fix an axis that the file leaves open."""
    return len(found) == len(wanted) and all(
        side in (None, here) for here, side in zip(found, wanted, strict=True)
    )
