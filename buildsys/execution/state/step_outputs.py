"""What steps wrote for the core to read: JSON of a known form, or a step that failed."""

from typing import TypeVar

from buildsys.errors import StepFailed
from buildsys.typed_json import Mismatch, parse

T = TypeVar("T")


def read_output(kind: type[T], text: bytes, step: str, name: str) -> T:
    """The value of a file that a step wrote; `step` and `name` are for the message. Raises StepFailed."""
    try:
        return parse(kind, text)
    except ValueError as error:
        raise malformed(step, name, describe_mismatch(error)) from error


def describe_mismatch(error: ValueError) -> str:
    """What is wrong, and the keys that lead there."""
    return error.text if isinstance(error, Mismatch) else str(error)


def malformed(step: str, name: str, why: str) -> StepFailed:
    """The error of a step whose output cannot be used."""
    return StepFailed(f"{step} wrote a {name} that cannot be used: {why}")
