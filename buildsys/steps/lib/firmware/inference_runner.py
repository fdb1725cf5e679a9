"""Arm's prebuilt inference runner: found in its package, its Ethos-U driver taken out in a copy.

The emulated machine has a Cortex-M55 and no NPU. The runner's symbols tell where the driver's
functions lie; they are replaced by functions that return at once.
"""

import hashlib
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
_ARENA = "_ZN3arm3appL13activationBufE"
"""arm::app::activationBuf, the runner's tensor arena."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One runner: its name and digest as shipped, the patched copy, the size of its arena."""

    file: str
    package: str
    sha256: str
    patched: bytes
    arena_bytes: int


def load(family: str) -> Runner:
    """The runner for `family` (U55, U65) on Corstone-300 with TFLite Micro."""
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
    patched, arena_bytes = disarm(data)
    return Runner(
        file=f"{found[0].parent.name}/{found[0].name}",
        package=f"{PACKAGE} {package.version}",
        sha256=hashlib.sha256(data).hexdigest(),
        patched=patched,
        arena_bytes=arena_bytes,
    )


def disarm(data: bytes) -> tuple[bytes, int]:
    """(the ELF file with its driver's functions stubbed, the size of its tensor arena in bytes).

    Ends the step where a symbol is missing or lies in no part of the file.
    """
    import io

    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    patched, arena_bytes = bytearray(data), 0
    for name, symbol in _find(elf, (*_STUBS, _ARENA)).items():
        if name == _ARENA:
            arena_bytes = int(symbol["st_size"])
            continue
        place = _offset(elf, symbol["st_value"] & ~1, name)  # the lowest bit says Thumb
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
    """Where in the file the byte lies that is loaded to an address."""
    for segment in elf.iter_segments():
        start = segment["p_vaddr"]
        if segment["p_type"] == "PT_LOAD" and start <= address < start + segment["p_filesz"]:
            return int(segment["p_offset"] + address - start)
    fail(f"the inference runner of {PACKAGE} has {name} in no part of its file.")
    raise AssertionError
