"""An engine's inputs and outputs against those of the network that it was built from."""

from collections.abc import Iterable
from typing import Any

from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.onnx_header import Header


def differ(found: dict[str, Any], wanted: Header) -> str:
    """What is another in an engine's facts; "" where nothing is.

    `found`: `inputs` and `outputs` [{name, shape}], -1 for an open axis.
    """
    sides: tuple[tuple[str, Iterable[Edge]], ...] = (
        ("input", wanted.inputs),
        ("output", wanted.outputs),
    )
    for kind, edges in sides:
        tensors = {edge.name: edge.shape for edge in edges}
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
