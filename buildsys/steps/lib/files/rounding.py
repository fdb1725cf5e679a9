"""Find how coarsely a file rounds its outputs: by the scale of the integers that they pass."""

from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)


def passed_tensors(
    output: Name, made: Mapping[Name, tuple[str, Name]], unchanging: tuple[str, ...]
) -> Iterator[Name]:
    """Yield an output, and the tensors before it from which only unchanging operators separate it.

    `made`: the operator that makes each tensor, and the operator's first input.
    """
    yield output
    for _ in made:
        operator, first = made.get(output, ("", output))
        if operator not in unchanging:
            return
        output = first
        yield output
