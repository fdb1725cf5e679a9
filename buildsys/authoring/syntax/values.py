"""Types of values that several blocks use: counts, shares, seeds, names, digests, tasks,
schemes.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr

from buildsys.spec import SCHEMES

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A metric or a difference of two: 0.4, not 40."""
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
NAME = r"[a-z0-9][a-z0-9-]*"
Task = Literal["detect", "segment", "classify", "pose", "obb"]
Scheme = Literal["float32", "float16", "dynamic-range", "int8", "int16x8"]
assert set(SCHEMES) == set(Scheme.__args__)  # type: ignore[attr-defined]


def _digest(value: str) -> str:
    if len(value) != 64:
        raise ValueError(f"a sha256 has 64 hexadecimal digits, not {len(value)} characters")
    wrong = sorted(set(value) - set("0123456789abcdef"))
    if wrong:
        raise ValueError(f"a sha256 has 64 hexadecimal digits; `{wrong[0]}` is not one of 0-9, a-f")
    return value


Sha256 = Annotated[StrictStr, AfterValidator(_digest)]
