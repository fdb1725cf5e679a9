"""Reads files that steps wrote for the core: valid JSON of a known form, or the step has failed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

from buildsys.errors import StepFailed
from buildsys.graph import Output
from buildsys.spec import Format
from buildsys.typed_json import Mismatch, decode, parse

T = TypeVar("T")
_FIGURES = frozenset(
    {
        *(Format.METRICS, Format.CURVES, Format.EVIDENCE, Format.LATENCY),
        *("arena", "comparison", "engine-facts", "layouts", "summary"),
    }
)
"""Outputs that are JSON objects; a suffix does not tell, since fetched files have one, too."""
LARGEST_CHECKED = 1 << 22
"""Bytes of a JSON file that is checked before another step reads it; reading larger ones takes
time.
"""


@dataclass(frozen=True, kw_only=True)
class ArenaNeed:
    """Bytes of tensor arena that a model needs, what determined them, and bytes that a firmware
    has.
    """

    need_bytes: float
    has_bytes: float
    margin_bytes: float
    by: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of a step.

    `side`: the input's larger side in pixels, 0 where no other size would help.
    """

    passed: bool
    failures: tuple[str, ...]
    side: int = 0
    arena: ArenaNeed | None = None


def read_verdict(text: bytes, step: str) -> Verdict:
    """Return a step's verdict. Raises StepFailed."""
    found = read_object(text, step, "verdict")
    known = {field.name for field in fields(Verdict)}
    known_fields = {key: value for key, value in found.items() if key in known}
    return _read(lambda: decode(Verdict, known_fields), step, "verdict")


def read_object(text: bytes, step: str, name: str) -> dict[str, object]:
    """Return a step's figures, in UTF-8; they may include NaN. Raises StepFailed."""
    return _read(lambda: decode(dict[str, object], json.loads(text.decode())), step, name)


def is_checked(output: Output, size: int) -> bool:
    """Return whether an output is a file of figures that is small enough to be checked."""
    return output.name in _FIGURES and not output.tree and size <= LARGEST_CHECKED


def read_entries(text: bytes, step: str, name: str) -> tuple[dict[str, object], ...]:
    """Return a step's rows of figures: those under `entries`, or the object itself.

    Raises StepFailed.
    """
    found = read_object(text, step, name)
    rows = found.get("entries", (found,))
    return _read(lambda: decode(tuple[dict[str, object], ...], rows), step, name)


def read_figure(text: bytes, key: str, step: str, name: str) -> float:
    """Return one of a step's figures. Raises StepFailed."""
    found = read_object(text, step, name)
    if key not in found:
        raise malformed(step, name, f"`{key}` is missing")
    return _read(lambda: decode(float, found[key]), step, f"{key} in its {name}")


def read_output(kind: type[T], text: bytes, step: str, name: str) -> T:
    """Return the value of a file that a step wrote; `step` and `name` are for the message.

    Raises StepFailed.
    """
    return _read(lambda: parse(kind, text), step, name)


def malformed(step: str, name: str, why: str) -> StepFailed:
    """Return the error of a step whose output cannot be used."""
    return StepFailed(f"{step} wrote a {name} that cannot be used: {why}")


def _read(reader: Callable[[], T], step: str, name: str) -> T:
    try:
        return reader()
    except RecursionError as error:
        raise malformed(step, name, "nested too deep") from error
    except ValueError as error:
        why = error.text if isinstance(error, Mismatch) else str(error)
        raise malformed(step, name, why) from error
