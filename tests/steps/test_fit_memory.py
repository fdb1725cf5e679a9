"""Comparing what a model needs with the memory that a firmware has."""

import json
from pathlib import Path

from buildsys.spec import Slot
from buildsys.steps import fit_memory


def judge(place: Path, arena: int, size: int) -> list[str]:
    """The failures of a file of `size` bytes for a firmware with 256 KiB of each memory."""
    (place / "model").write_bytes(bytes(size))
    (place / "arena").write_text(json.dumps({"arena_bytes": arena}))
    slot = Slot(address=0x400000, size=256 * 1024, alignment=4096, lowest=0)
    params = fit_memory.Params(firmware="f", arena_kib=256, slot=slot, side=192)
    inputs = {"tflite": place / "model", "arena": place / "arena"}
    fit_memory.run(inputs, {"verdict": place / "verdict"}, params)
    failures: list[str] = json.loads((place / "verdict").read_text())["failures"]
    return failures


def test_what_exceeds_a_limit_is_not_stated_as_equal_to_it(tmp_path: Path) -> None:
    """What is needed is rounded up: 100 bytes more than 256 KiB are 257 KiB."""
    limit = 256 * 1024
    assert judge(tmp_path, limit, limit) == []
    assert judge(tmp_path, limit + 100, limit + 100) == [
        "it needs 257 KiB of tensor arena (by TFLite Micro on this 64-bit host), f has 256 KiB",
        "the file has 257 KiB, f keeps 256 KiB for it at 0x00400000; a smaller network needs less",
    ]
