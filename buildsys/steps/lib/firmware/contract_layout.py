"""A firmware contract's outputs against a file's: which output of the file is which of them.

Standard library alone: planning and steps ask alike.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildsys.spec import ContractSpec
from buildsys.steps.lib.heads.formulas import dimensions, evaluate, shapes

_MOST_CLASSES, _MOST_KEYPOINTS = 1200, 200
"""Beyond every dataset that is in use: where a file has to tell the numbers itself."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An output of a file: the name that it goes by, its shape with the batch axis."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What the numbers are under which a file fits, and the contract's name of each output in turn."""

    classes: int
    keypoints: int
    names: tuple[str, ...]


def match(
    contract: ContractSpec,
    found: tuple[Found, ...],
    height: int,
    width: int,
    classes: int,
    keypoints: int,
) -> Layout | None:
    """Which output of the file is which of the contract's, in any order; None where none fits.

    `classes`, `keypoints`: 0 where unknown; then the file's own shapes decide. A name that the
    contract has counts before a shape: two outputs of one shape are told apart by it alone.
    """
    dims = contract.keypoint_dims or 3
    for nc, points in itertools.product(
        _choices(contract, "nc", classes), _choices(contract, "K", keypoints)
    ):
        wanted = shapes(contract.outputs, dimensions(height, width, nc, points, dims))
        names = _assign(wanted, found)
        if names is not None:
            return Layout(classes=nc, keypoints=points, names=names)
    return None


def _choices(contract: ContractSpec, name: str, stated: int) -> Iterable[int]:
    used = any(name in axis for output in contract.outputs for axis in output.shape)
    if stated or not used:
        return (stated,)
    if name == "K":
        dims = contract.keypoint_dims or 3
        fixed = contract.keypoint_values // dims
        return (fixed,) if fixed else range(1, _MOST_KEYPOINTS)
    if contract.classes:
        return (contract.classes,)
    return (n for n in range(1, _MOST_CLASSES) if n not in contract.refused_classes)


def _assign(
    wanted: Mapping[str, tuple[int, ...]], found: tuple[Found, ...]
) -> tuple[str, ...] | None:
    """The contract's name for each output of the file, in file order."""
    if len(wanted) != len(found):
        return None
    if {output.name: output.shape for output in found} == dict(wanted):
        return tuple(output.name for output in found)
    left = dict(wanted)
    names = []
    for output in found:
        name = next((name for name, shape in left.items() if shape == output.shape), None)
        if name is None:
            return None
        del left[name]
        names.append(name)
    return tuple(names)


def expected(contract: ContractSpec, height: int, width: int, classes: int, keypoints: int) -> str:
    """The contract's layout in words; numbers that nobody knows stay names."""
    known = dimensions(height, width, classes, keypoints, contract.keypoint_dims or 3)
    known = {name: value for name, value in known.items() if value or name not in ("nc", "K")}
    rows = []
    for output in contract.outputs:
        axes = [_axis(axis, known) for axis in output.shape]
        rows.append(f"{output.name} {contract.dtype} [{', '.join(axes)}]")
    order = "in this order" if contract.in_order and len(rows) > 1 else ""
    return f"{len(rows)} output{'s' if len(rows) != 1 else ''}{' ' + order if order else ''}: " + (
        ", ".join(rows)
    )


def _axis(formula: str, known: Mapping[str, int]) -> str:
    try:
        return str(evaluate(formula, known))
    except ValueError:
        return formula.replace(" ", "")


def actual(found: Iterable[Found], dtypes: Iterable[str]) -> str:
    """A file's layout in the same words."""
    rows = [
        f"{output.name} {dtype} [{', '.join(map(str, output.shape))}]"
        for output, dtype in zip(found, dtypes, strict=True)
    ]
    return f"{len(rows)} output{'s' if len(rows) != 1 else ''}: {', '.join(rows)}"
