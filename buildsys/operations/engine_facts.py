"""What an engine says of itself, and whether it is of the network that it was built from."""

from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.onnx_header import Header


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output of an engine; -1 for an open axis."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """Of facts.json, which the machine that built the engine wrote: what packages read of it."""

    library: str
    version: str
    compute_capability: str
    gpu: str
    system: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def differ(inputs: Iterable[Tensor], outputs: Iterable[Tensor], wanted: Header) -> str:
    """What is another in an engine than in its network; "" where nothing is."""
    sides: tuple[tuple[str, Iterable[Tensor], Iterable[Edge]], ...] = (
        ("input", inputs, wanted.inputs),
        ("output", outputs, wanted.outputs),
    )
    for kind, found, edges in sides:
        tensors = {edge.name: edge.shape for edge in edges}
        rows = {tensor.name: tensor.shape for tensor in found}
        if rows.keys() != tensors.keys():
            return f"has the {kind}s {', '.join(rows)}, and the network {', '.join(tensors)}"
        for name, shape in tensors.items():
            if shape is not None and not _fits(rows[name], shape):
                wanted_sides = " x ".join("?" if side is None else str(side) for side in shape)
                here = " x ".join("?" if side < 0 else str(side) for side in rows[name])
                return f"has the {kind} {name} of {here}, and the network of {wanted_sides}"
    return ""


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """An axis that the file leaves open may be settled: the builder infers it."""
    return len(found) == len(wanted) and all(
        side in (None, here) for here, side in zip(found, wanted, strict=True)
    )
