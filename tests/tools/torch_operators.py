"""Every operator that is replaced, in every kind of number: `python torch_operators.py PACKAGE pinned|plain`.

Prints JSON: case -> dtype, shape and values, or the class of the error.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "pinned":
    from buildsys.steps.lib.runtime import pinned_arithmetic

    pinned_arithmetic.pin()
import torch


def describe(compute: Callable[[], Any]) -> list[Any]:
    """The outputs of an operator."""
    try:
        result = compute()
    except (RuntimeError, TypeError) as error:
        return [type(error).__name__]
    values = torch.view_as_real(result.to(torch.complex128)).flatten().tolist()
    return [str(result.dtype), list(result.shape), values]


def gradient(compute: Callable[[Any], Any], given: Any) -> Any:
    """The derivative of the outputs' sum."""
    given = given.clone().requires_grad_()
    return torch.autograd.grad(compute(given).sum(), given)[0]


def change(name: str, given: Any) -> Any:
    """Call an in-place method on a copy."""
    return getattr(given.clone(), name)()


numbers = torch.linspace(0.01, 0.99, 7)
GIVEN = {
    "float32": numbers,
    "float64": numbers.double(),
    "float16": numbers.half(),
    "integers": torch.tensor([0, 1, 1, 0]),
    "truth": numbers > 0.5,
    "complex": numbers.to(torch.complex64),
    "none": numbers[:0],
    "every second": torch.stack([numbers, numbers], 1)[:, 0],
}
cases: dict[str, Callable[[], Any]] = {}
for name in ("acos", "asin", "atan", "log10", "sqrt", "tan"):
    operator = getattr(torch, name)
    for kind, given in GIVEN.items():
        case = f"{name} of {kind}"
        cases[case] = partial(operator, given)
        cases[f"{case}, in place"] = partial(change, f"{name}_", given)
        for into in (torch.float32, torch.int64):
            out = torch.empty(given.shape, dtype=into)
            cases[f"{case}, into {into}"] = partial(operator, given, out=out)
    cases[f"gradient of {name}"] = partial(gradient, operator, numbers)
for exponent in (0.5, -0.5, 1.7, 2, 0.5 + 0j):
    for kind in ("float32", "integers", "complex"):
        cases[f"{kind} ** {exponent}"] = partial(torch.pow, GIVEN[kind] + 1, exponent)
powers = torch.tensor([1000.0, 1e15], dtype=torch.float64)
cases["log10 of powers of ten"] = lambda: torch.log10(powers)
whole = torch.arange(1, 20000)
cases["sqrt of integers as of real numbers"] = lambda: whole.sqrt() - whole.float().sqrt()
print(json.dumps({case: describe(compute) for case, compute in cases.items()}))
