"""The tensor arena that Vela planned, from its summary and the compiled file."""

from collections.abc import Mapping

from buildsys.steps.lib.files import vela_file


def planned_arena(summary: Mapping[str, float], model: bytes) -> int:
    """Return the tensor arena in bytes for a compiled file, `model`, and Vela's figures of it."""
    in_dram = summary.get("dram_bytes", 0) and not _flash(summary)
    return planned_bytes(summary, vela_file.weights_bytes(model) if in_dram else 0)


def planned_bytes(summary: Mapping[str, float], weights_bytes: int) -> int:
    """Return the tensor arena that Vela planned, the larger of SRAM and DRAM, in bytes.

    With Dedicated_Sram the arena is in DRAM, and the cache in SRAM overlaps its start. If Vela
    states no flash, its figure for DRAM includes the weights.
    """
    dram = summary.get("dram_bytes", 0) - (0 if _flash(summary) else weights_bytes)
    return round(max(summary["sram_bytes"], dram))


def _flash(summary: Mapping[str, float]) -> float:
    return summary.get("on_chip_flash_bytes", 0) + summary.get("off_chip_flash_bytes", 0)
