"""What the compiler planned -> a verdict: whether the firmware's tensor arena holds the model."""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format

TOOL_ENV = ""
CONSUMES, PRODUCES = Format.METRICS, Format.VERDICT
BLOCK = "vela"
_ALLOCATOR_KIB = 1.5
"""What TFLite Micro's own structures take beside Vela's plan: 0.5 to 1.5 KiB on every model tried."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The arena of the firmware contract, KiB."""

    firmware: str
    arena_kib: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: summary, Vela's figures as JSON with `sram_bytes`."""
    summary = json.loads(inputs["summary"].read_text(encoding="utf-8"))
    need = summary["sram_bytes"] / 1024 + _ALLOCATOR_KIB
    failures = []
    if need > params.arena_kib:
        failures.append(
            f"it needs {need:.0f} KiB of tensor arena, {params.firmware} has {params.arena_kib} KiB;"
            " a smaller input.size needs less"
        )
    verdict = {"passed": not failures, "failures": failures}
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")
