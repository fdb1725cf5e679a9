"""The tensor arena that Vela planned: in SRAM, or in DRAM beside a cache in SRAM."""

import json
from pathlib import Path

import pytest

from buildsys.steps import fit_memory
from buildsys.steps.lib.firmware.planned_arena import planned_arena, planned_bytes
from tests.given_models import tflite_bytes


def test_the_planned_arena_leaves_weights_in_dram_out() -> None:
    """The planned arena excludes weights in DRAM; figures of one model in four memory modes."""
    assert planned_bytes({"sram_bytes": 299_744, "dram_bytes": 0}, 2_585_792) == 299_744
    dedicated = {"sram_bytes": 299_744, "dram_bytes": 2_696_240}
    assert planned_bytes(dedicated, 2_585_648) == 299_744
    assert planned_bytes({"sram_bytes": 100, "dram_bytes": 2_696_240}, 2_585_648) == 110_592
    flash = {"sram_bytes": 0, "dram_bytes": 110_592, "off_chip_flash_bytes": 2_585_648}
    assert planned_bytes(flash, 2_585_648) == 110_592


def test_weights_are_counted_only_where_they_lie_in_dram() -> None:
    """The compiled file is read only if Vela's figure for DRAM may include its weights."""
    assert planned_arena({"sram_bytes": 3}, b"") == 3
    flash = {"sram_bytes": 3, "dram_bytes": 5, "off_chip_flash_bytes": 7}
    assert planned_arena(flash, b"") == 5
    assert planned_arena({"sram_bytes": 3, "dram_bytes": 5}, tflite_bytes()) == 5


@pytest.mark.parametrize("flash", [0, 2_585_648])
def test_an_arena_in_dram_is_compared_with_the_firmwares(tmp_path: Path, flash: int) -> None:
    """With Dedicated_Sram, the arena in DRAM counts, not the cache in SRAM."""
    summary = {"sram_bytes": 24 << 10, "dram_bytes": 2 << 20, "off_chip_flash_bytes": flash}
    model, figures = tmp_path / "model.tflite", tmp_path / "summary.json"
    verdict = tmp_path / "verdict.json"
    model.write_bytes(tflite_bytes())
    figures.write_text(json.dumps(summary))
    params = fit_memory.Params(firmware="mine", arena_kib=1024, slot=None, side=96)
    inputs = {"vela-tflite": model, "summary": figures}
    fit_memory.run(inputs, {"verdict": verdict}, params)
    found = json.loads(verdict.read_text())
    assert found["arena"]["need_bytes"] == (2 << 20) + fit_memory.ALLOCATOR_BYTES
    assert found["failures"] == [
        "it needs 2050 KiB of tensor arena (by Vela's plan and 1.5 KiB), mine has 1024 KiB"
    ]
