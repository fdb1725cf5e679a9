"""An input or output of a model file, whatever its format."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Edge:
    """`shape`: an open axis is None; instead of the shape None, if the file leaves it out."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str

    @property
    def sides(self) -> tuple[int | None, ...]:
        """The axes; none where the file has no shape."""
        return self.shape or ()

    def __str__(self) -> str:
        """ "output0 float32 [1, 84, ?]"."""
        sides = ", ".join("?" if side is None else str(side) for side in self.sides)
        return f"{self.name} {self.dtype} [{sides}]"


def settled_sides(edges: Iterable[Edge]) -> list[int]:
    """The length of every axis that is not left open."""
    return [side for edge in edges for side in edge.sides if side is not None]
