"""Decide whether the model fits into the firmware's tensor arena and flash.

It uses figures of earlier steps, so that a changed limit costs nothing: the arena that Vela
planned, or that TFLite Micro used on this host if no compiler plans it; and the size of the file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Slot, StepSpec
from buildsys.steps.lib.firmware import planned_arena
from buildsys.steps.lib.firmware.memory_limits import find_excess, needed_kib

_KINDS = (Format.VELA, Format.TFLITE)
STEP = StepSpec(
    consumes=_KINDS,
    produces=Format.VERDICT,
    block="vela",
)
ALLOCATOR_BYTES = 1536
"""What TFLite Micro's own structures need in addition to Vela's plan: 0.5 to 1.5 KiB on every model
tried.
"""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the firmware provides: arena in KiB (0: unknown), the slot in flash (None: unknown)."""

    firmware: str
    arena_kib: int
    slot: Slot | None
    side: int
    """The recipe's longer side in pixels, to estimate one that fits; 0: unknown."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Judge. `inputs`: the model file; summary (Vela's figures) or arena (TFLite Micro's), as JSON."""
    (model,) = (inputs[kind] for kind in _KINDS if kind in inputs)
    verdict: dict[str, Any] = {"passed": True, "failures": []}
    need = _read_need(inputs, model)
    if need is not None and params.arena_kib:
        _judge_arena(verdict, *need, params)
    if params.slot is not None:
        _judge_flash(verdict, model.stat().st_size, params.slot, params)
    verdict["passed"] = not verdict["failures"]
    text = json.dumps(verdict, indent=1, sort_keys=True) + "\n"
    outputs["verdict"].write_text(text, encoding="utf-8")


def _read_need(inputs: dict[str, Path], model: Path) -> tuple[int, str] | None:
    """Return (arena in bytes, the source of that figure), or None if no input states it."""
    if "summary" in inputs:
        summary = json.loads(inputs["summary"].read_text(encoding="utf-8"))
        arena = planned_arena.planned_arena(summary, model.read_bytes())
        return arena + ALLOCATOR_BYTES, "Vela's plan and 1.5 KiB"
    if "arena" in inputs:
        evidence = json.loads(inputs["arena"].read_text(encoding="utf-8"))
        if "arena_bytes" in evidence:
            return round(evidence["arena_bytes"]), "TFLite Micro on this 64-bit host"
    return None


def _judge_arena(verdict: dict[str, Any], need: int, by: str, params: Params) -> None:
    has = params.arena_kib * 1024
    verdict["arena"] = {"need_bytes": need, "has_bytes": has, "margin_bytes": has - need, "by": by}
    excess = find_excess(need, by, params.firmware, params.arena_kib)
    if excess:
        verdict["failures"].append(excess)
        verdict["side"] = params.side


def _judge_flash(verdict: dict[str, Any], size: int, slot: Slot, params: Params) -> None:
    verdict["flash"] = {
        "need_bytes": size,
        "has_bytes": slot.size,
        "margin_bytes": slot.size - size,
        "address": f"0x{slot.address:08X}",
    }
    if size > slot.size:
        verdict["failures"].append(
            f"the file has {needed_kib(size)} KiB, {params.firmware} keeps {slot.size // 1024} KiB"
            f" for it at 0x{slot.address:08X}; a smaller network needs less"
        )
