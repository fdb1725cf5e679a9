"""Match a file's outputs to the outputs of a firmware contract.

Only the standard library is used, because planning uses it, too.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from buildsys.spec import ContractSpec
from buildsys.steps.lib.heads.formulas import dimensions, evaluate, shapes
from buildsys.steps.lib.heads.output_names import assign

_MOST_CLASSES, _MOST_KEYPOINTS = 1200, 200
"""Upper limits when the numbers must be found from a file's shapes; larger than in any common
dataset.
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """An output of a file: its name, and its shape with the batch axis."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers for which a file matches, and the contract's name for each output in file order."""

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
    """Return which output of the file is which of the contract's, in any order; None if they do not
    match.

    `classes`, `keypoints`: 0 if unknown; then the file's shapes decide. A name in the contract
    takes precedence over a shape: only names distinguish two outputs of the same shape.
    """
    dims = contract.keypoint_dims or 3
    present = sorted(output.shape for output in found)
    for nc, points in itertools.product(
        _choices(contract, "nc", classes), _choices(contract, "K", keypoints)
    ):
        wanted = shapes(contract.outputs, dimensions(height, width, nc, points, dims))
        if sorted(wanted.values()) != present:
            continue
        names = assign(wanted, [(output.name, output.shape) for output in found])
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


def expected(contract: ContractSpec, height: int, width: int, classes: int, keypoints: int) -> str:
    """Return the contract's layout as text; unknown numbers remain names."""
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
    """Return a file's layout in the same form."""
    rows = [
        f"{output.name} {dtype} [{', '.join(map(str, output.shape))}]"
        for output, dtype in zip(found, dtypes, strict=True)
    ]
    return f"{len(rows)} output{'s' if len(rows) != 1 else ''}: {', '.join(rows)}"
