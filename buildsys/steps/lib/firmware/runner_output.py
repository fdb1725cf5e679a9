"""What Arm's inference runner prints while it loads a model, read into values."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

ALL_TOLD = ("NPU memory mode", "tensor/s populated")
"""The first line after the last of interest; the memory mode is told for NPU models only."""
_ENDED = ("program terminating", "Exception caught by function")

_TYPE = re.compile(r"tensor type is (\w+)")
_BYTES = re.compile(r"tensor occupies (\d+) bytes")
_DIMENSION = re.compile(r"\d+: +(\d+)$")
_SCALE = re.compile(r"Scale = ([-\d.]+)")
_ZERO_POINT = re.compile(r"ZeroPoint = (-?\d+)")
_ARENA = re.compile(r"tensor arena\) size used: (\d+)")
_OPERATOR = re.compile(r"Operator \d+: (\S+)")
_MODE = re.compile(r"NPU memory mode likely to be: (\S+)")
_FAULT = re.compile(r"Exception caught by function (\w+)")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output; scale and zero point as printed (six decimals), None where none are."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, kw_only=True)
class RunnerReport:
    """`arena_bytes` None: tensors were not allocated. `errors`: the firmware's words, in order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[str, ...]
    arena_bytes: int | None
    memory_mode: str
    errors: tuple[str, ...]
    fault: str


def is_last(line: str) -> bool:
    """Whether nothing of interest follows a line."""
    return any(mark in line for mark in (*ALL_TOLD, *_ENDED))


def read(lines: Iterable[str]) -> RunnerReport:
    """The runner's lines, from its start or from any line before the tensors."""
    lines = [line.rstrip("\r\n") for line in lines]
    text = "\n".join(lines)
    before, _, after = text.partition("Model OUTPUT tensors")
    _, _, ins = before.partition("Model INPUT tensors")
    arena, mode, fault = (pattern.search(text) for pattern in (_ARENA, _MODE, _FAULT))
    return RunnerReport(
        inputs=_tensors(ins),
        outputs=_tensors(after),
        operators=tuple(_OPERATOR.findall(text)),
        arena_bytes=int(arena[1]) if arena else None,
        memory_mode=mode[1] if mode else "",
        errors=_errors(lines),
        fault=fault[1] if fault else "",
    )


def _tensors(text: str) -> tuple[Tensor, ...]:
    _, *blocks = re.split(r"(?=tensor type is )", text)
    return tuple(_tensor(block) for block in blocks)


def _tensor(block: str) -> Tensor:
    dtype, size = _TYPE.search(block), _BYTES.search(block)
    scale, zero = _SCALE.search(block), _ZERO_POINT.search(block)
    dimensions = [_DIMENSION.search(line) for line in block.splitlines()]
    return Tensor(
        dtype=dtype[1] if dtype else "",
        shape=tuple(int(found[1]) for found in dimensions if found),
        bytes=int(size[1]) if size else 0,
        scale=float(scale[1]) if scale else None,
        zero_point=int(zero[1]) if zero else None,
    )


def _errors(lines: list[str]) -> tuple[str, ...]:
    """TFLite Micro's own lines and the runner's; one of the runner's ends without a line's end."""
    parts = [part for line in lines for part in re.split(r"(?=ERROR - )", line)]
    found = [re.match(r"(?:TFLM|ERROR) - (.*\S)", part) for part in parts]
    return tuple(each[1] for each in found if each)
