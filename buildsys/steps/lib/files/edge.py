"""Inputs and outputs of a model file in any format."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input or output. `shape`: a dynamic axis is None; None instead of the shape if the file
    has none.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @property
    def sides(self) -> tuple[int | None, ...]:
        """Return the axes; () if the file has no shape."""
        return self.shape or ()

    def __str__(self) -> str:
        """ "output0 float32 [1, 84, ?]"."""
        sides = ", ".join("?" if side is None else str(side) for side in self.sides)
        return f"{self.name} {self.dtype} [{sides}]"


def settled_sides(edges: Iterable[Edge]) -> list[int]:
    """Return the length of every fixed axis."""
    return [side for edge in edges for side in edge.sides if side is not None]


def find_maker(
    output: Name, made: Mapping[Name, tuple[str, Name]], unchanging: tuple[str, ...]
) -> str:
    """Return the operator that computes the values of an output; empty if none does.

    `made`: the operator that makes each tensor, and the operator's first input; `unchanging`:
    operators that keep values.
    """
    for _ in made:
        operator, first = made.get(output, ("", output))
        if operator not in unchanging:
            return operator
        output = first
    return ""
