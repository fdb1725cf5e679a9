"""A firmware contract's outputs as formulas, and which output of a file is which of them.

H, W: the input's height and width; hw8, hw16, hw32: cells of a stride; N: their sum; nc: classes;
K: keypoints; D: values a keypoint. Standard library alone: planning and steps ask alike.
"""

import ast
import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from buildsys.spec import REG_MAX, STRIDES, ContractSpec, OutputFormula

NAMES = ("H", "W", "N", *(f"hw{stride}" for stride in STRIDES), "nc", "K", "D")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}
_BOX = str(4 * REG_MAX)
HEADS: dict[str, tuple[OutputFormula, ...]] = {
    "raw": (
        *(OutputFormula(name=f"box_s{s}", shape=("1", f"hw{s}", _BOX)) for s in STRIDES),
        *(OutputFormula(name=f"cls_s{s}", shape=("1", f"hw{s}", "nc")) for s in STRIDES),
    ),
    "decoded": (OutputFormula(name="detections", shape=("1", "4+nc+K*D", "N")),),
    "normalized": (OutputFormula(name="detections", shape=("1", "4+nc+K*D", "N")),),
    "split": (
        OutputFormula(name="boxes", shape=("1", "4", "N")),
        OutputFormula(name="scores", shape=("1", "N", "nc")),
    ),
}
"""What spec.head_outputs makes, as formulas; the raw head of pose has the keypoints besides."""
KEYPOINTS = OutputFormula(name="keypoints", shape=("1", "N", "K*D"))
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


def evaluate(formula: str, values: Mapping[str, int]) -> int:
    """A formula's value. Raises ValueError with a sentence for anything but + - * // of NAMES."""
    try:
        tree = ast.parse(formula, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"`{formula[:60]}` is no formula") from None
    return _value(tree.body, values, formula)


def _value(node: ast.expr, values: Mapping[str, int], formula: str) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        if node.id not in values:
            raise ValueError(f"`{formula[:60]}` names {node.id}; there are: {', '.join(NAMES)}")
        return values[node.id]
    operation = _OPERATORS.get(type(node.op)) if isinstance(node, ast.BinOp) else None
    if isinstance(node, ast.BinOp) and operation is not None:
        left, right = (_value(side, values, formula) for side in (node.left, node.right))
        if isinstance(node.op, ast.FloorDiv) and right == 0:
            raise ValueError(f"`{formula[:60]}` divides by nothing")
        return operation(left, right)
    raise ValueError(f"`{formula[:60]}` is no formula of +, -, *, // and {', '.join(NAMES)}")


def head_formulas(head: str, task: str) -> tuple[OutputFormula, ...]:
    """The outputs of a head by name."""
    if head == "raw":
        return HEADS[head] + ((KEYPOINTS,) if task == "pose" else ())
    if task == "pose" or head == "split":
        return HEADS[head]
    return (OutputFormula(name="detections", shape=("1", "4+nc", "N")),)


def dimensions(height: int, width: int, classes: int, keypoints: int, dims: int) -> dict[str, int]:
    """What each name of a formula stands for."""
    cells = {f"hw{stride}": (height // stride) * (width // stride) for stride in STRIDES}
    return {
        "H": height, "W": width, **cells, "N": sum(cells.values()), "nc": classes,
        "K": keypoints, "D": dims,
    }  # fmt: skip


def shapes(
    outputs: Iterable[OutputFormula], values: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The outputs' shapes by name. Raises ValueError."""
    return {out.name: tuple(evaluate(axis, values) for axis in out.shape) for out in outputs}


def match(
    contract: ContractSpec, found: tuple[Found, ...], height: int, width: int,
    classes: int, keypoints: int,
) -> Layout | None:  # fmt: skip
    """Which output of the file is which of the contract's, in any order; None where none fits.

    `classes`, `keypoints`: 0 where nobody said; then the file's own shapes tell. A name that the
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
