"""Formulas for the axes of tensors, in contracts and heads, which hold for every input size.

H, W: the input's height and width; hw8, hw16, hw32: cells of a stride; N: all cells; nc: classes;
K: keypoints; D: values per keypoint. Only the standard library is used, because planning uses it,
too.
"""

import ast
from collections.abc import Callable, Iterable, Mapping

from buildsys.spec import STRIDE_SETS, STRIDES, OutputFormula

NAMES = ("H", "W", "N", *(f"hw{stride}" for stride in STRIDES), "nc", "K", "D")
_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}


def evaluate(formula: str, values: Mapping[str, int]) -> int:
    """Return a formula's value. Raises ValueError with a sentence for anything but + - * // of
    NAMES.
    """
    try:
        tree = ast.parse(formula, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"`{formula[:60]}` is not a formula") from None
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
    raise ValueError(f"`{formula[:60]}` is not a formula of +, -, *, // and {', '.join(NAMES)}")


def count_cells(height: int, width: int, strides: tuple[int, ...] = STRIDES) -> int:
    """Return the number of cells of all strides together."""
    return sum((height // stride) * (width // stride) for stride in strides)


def find_strides(
    sides: Iterable[int], names: Iterable[str], height: int, width: int
) -> tuple[int, ...]:
    """Return the strides of an output's cells; the usual ones by default. `names`: the output
    names, which contain the strides in a raw head (box_s8); `sides`: the axis lengths, one of which
    is the number of all cells in other heads.
    """
    named = sorted(int(name[len("box_s") :]) for name in names if name.startswith("box_s"))
    if named:
        return tuple(named)
    found = set(sides)
    known = (s for s in STRIDE_SETS if count_cells(height, width, s) in found)
    return next(known, STRIDES)


def dimensions(
    height: int,
    width: int,
    classes: int,
    keypoints: int,
    dims: int,
    strides: tuple[int, ...] = STRIDES,
) -> dict[str, int]:
    """Return the value of each name in a formula, with the cells of `strides`."""
    cells = {f"hw{stride}": (height // stride) * (width // stride) for stride in strides}
    return {
        "H": height,
        "W": width,
        **cells,
        "N": count_cells(height, width, strides),
        "nc": classes,
        "K": keypoints,
        "D": dims,
    }


def shapes(
    outputs: Iterable[OutputFormula], values: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """Return the outputs' shapes by name. Raises ValueError."""
    return {out.name: tuple(evaluate(axis, values) for axis in out.shape) for out in outputs}
