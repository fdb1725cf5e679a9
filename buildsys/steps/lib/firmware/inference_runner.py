"""Find Arm's prebuilt inference runner, disable the Ethos-U driver in a copy, and read its output.

The emulated machine has a Cortex-M55 and no NPU. The runner's symbols show where the driver's
functions are; in the copy they are replaced by functions that return at once.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

PACKAGE = "mlia-ethos-u"
_RETURN_ZERO = bytes.fromhex("00207047")
"""Thumb: movs r0, #0; bx lr."""
_RETURN = bytes.fromhex("7047")
_STUBS = {
    "arm_ethosu_npu_init": _RETURN_ZERO,
    "ethosu_invoke_v3": _RETURN_ZERO,
    "ethosu_reserve_driver": _RETURN_ZERO,
    "ethosu_release_driver": _RETURN,
    "ethosu_pmu_init": _RETURN,
    "ethosu_get_pmu_counters": _RETURN,
}
_ARENA_SYMBOL = "_ZN3arm3appL13activationBufE"
"""arm::app::activationBuf, the runner's tensor arena."""
_LAST_LINES = ("NPU memory mode", "tensor/s populated")
"""The first line after the relevant ones; the memory mode is printed only for NPU models."""
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
class Runner:
    """One runner: its name and digest as shipped, the patched copy, the size of its arena."""

    file: str
    package: str
    sha256: str
    patched: bytes
    arena_bytes: int


def load(family: str) -> Runner:
    """Return the runner for `family` (U55, U65) on Corstone-300 with TFLite Micro."""
    import importlib.metadata

    package = importlib.metadata.distribution(PACKAGE)
    found = [
        path
        for path in package.files or ()
        if path.suffix == ".axf"
        and path.parent.name.startswith("inference_runner-sse-300-")
        and f"-tflm-ethos-{family}-" in path.parent.name
    ]
    if len(found) != 1:
        fail(f"{PACKAGE} {package.version} ships no TFLite Micro runner for Ethos-{family}.")
    data = Path(str(found[0].locate())).read_bytes()
    patched, arena_bytes = disable_driver(data)
    return Runner(
        file=f"{found[0].parent.name}/{found[0].name}",
        package=f"{PACKAGE} {package.version}",
        sha256=hashlib.sha256(data).hexdigest(),
        patched=patched,
        arena_bytes=arena_bytes,
    )


def disable_driver(data: bytes) -> tuple[bytes, int]:
    """Return the ELF file with stubbed driver functions, and the size of its tensor arena in bytes.
    Ends the step if a symbol is missing or not in the file.
    """
    import io

    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    patched, arena_bytes = bytearray(data), 0
    for name, symbol in _find(elf, (*_STUBS, _ARENA_SYMBOL)).items():
        if name == _ARENA_SYMBOL:
            arena_bytes = int(symbol["st_size"])
            continue
        place = _offset(elf, symbol["st_value"] & ~1, name)  # the lowest bit marks Thumb code
        patched[place : place + len(_STUBS[name])] = _STUBS[name]
    return bytes(patched), arena_bytes


def _find(elf: Any, names: tuple[str, ...]) -> dict[str, Any]:
    table = elf.get_section_by_name(".symtab")
    symbols = list(table.iter_symbols()) if table is not None else []
    found = {symbol.name: symbol for symbol in symbols if symbol.name in names}
    missing = sorted(set(names) - set(found))
    if missing:
        fail(
            f"the inference runner of {PACKAGE} has no symbol {', '.join(missing)}: it is another"
            " build than the one that this step knows."
        )
    return found


def _offset(elf: Any, address: int, name: str) -> int:
    """Return the file offset of the byte that is loaded to an address."""
    for segment in elf.iter_segments():
        start = segment["p_vaddr"]
        if segment["p_type"] == "PT_LOAD" and start <= address < start + segment["p_filesz"]:
            return int(segment["p_offset"] + address - start)
    fail(f"the inference runner of {PACKAGE} has {name} in no part of its file.")


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output; scale and zero point as printed (six decimals), None if there are none."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True, kw_only=True)
class RunnerReport:
    """The runner's output. `arena_bytes` None: tensors were not allocated. `errors`: the firmware's
    messages, in order.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[str, ...]
    arena_bytes: int | None
    memory_mode: str
    errors: tuple[str, ...]
    fault: str


def is_last(line: str) -> bool:
    """Return whether no relevant output follows a line."""
    return any(mark in line for mark in (*_LAST_LINES, *_ENDED))


def read_output(lines: Iterable[str]) -> RunnerReport:
    """Read the runner's lines, from its start or from any line before the tensors."""
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
    """Return the error messages of TFLite Micro and of the runner; one of the runner's has no
    newline.
    """
    parts = [part for line in lines for part in re.split(r"(?=ERROR - )", line)]
    found = [re.match(r"(?:TFLM|ERROR) - (.*\S)", part) for part in parts]
    return tuple(each[1] for each in found if each)
