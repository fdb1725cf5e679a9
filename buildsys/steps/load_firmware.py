"""Load the compiled model in Arm's TFLite Micro firmware on an emulated Cortex-M55.

The emulated machine has no NPU: the driver is stubbed, and the NPU's results are not tested. But
real firmware parses the file, resolves its operators and allocates its tensors, and reports the
arena that this needed.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.files.tflite_bounds import demand_tflite
from buildsys.steps.lib.firmware.inference_runner import RunnerReport
from buildsys.steps.lib.firmware.memory_limits import find_excess
from buildsys.steps.lib.runtime.progress import fail, remember, report

if TYPE_CHECKING:
    from buildsys.steps.lib.firmware.emulator import Session
    from buildsys.steps.lib.firmware.inference_runner import Runner

STEP = StepSpec(
    tool_env="load-test",
    consumes=(Format.VELA,),
    produces=Format.VERDICT,
    resources=Resources(memory_mib=200),
    requires="qemu-system-arm",
)

MOST_DIFFERENCE_BYTES = 4096
"""Largest accepted difference from Vela's plan: TFLite Micro itself needs 0.5 to 1.5 KiB on every
model tried. It shows that the plan is of this file; the arena that the firmware has is a limit of
its own.
"""
_OWN_BYTES = 16384
"""Memory reserved for the runner's TFLite Micro when its arena is compared with Vela's figure."""
_COVERS = (
    "A real TFLite Micro on a Cortex-M55 parses the file, resolves its operators and allocates its"
    " tensors. Not covered: whether the firmware on the board registers these operators (Arm's"
    " runner registers all), and what the NPU computes (its driver is stubbed, the machine has none)."
)
_SECONDS = 300.0
"""Longest time for the emulated machine to load a model, which takes it seconds."""
_SOURCE = "TFLite Micro on an emulated Cortex-M55"
_STAGES = ("CPU ID", "Allocating tensors", "size used", "memory mode")


@dataclass(frozen=True, kw_only=True)
class Params:
    """`accelerator`: Vela's name; arena of the firmware in KiB (0: unknown)."""

    accelerator: str
    firmware: str = ""
    arena_kib: int = 0


def why_not(accelerator: str) -> str:
    """Return why there is no load test for an accelerator, as a sentence; "" if there is one."""
    if accelerator.startswith(("ethos-u55-", "ethos-u65-")):
        return ""
    return (
        f"there is no load test for {accelerator}: Arm ships its runner for a Corstone-320, which"
        " qemu does not emulate."
        if accelerator.startswith("ethos-u85-")
        else f"there is no load test for {accelerator}: Arm ships no runner for it."
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Run the load test. `inputs`: vela-tflite; summary, Vela's figures as JSON. `outputs`:
    verdict, sizes in bytes.
    """
    from buildsys.steps.lib.firmware import emulator, inference_runner, planned_arena

    model = inputs["vela-tflite"]
    if why_not(params.accelerator):
        fail(f"{model.resolve().name}: {why_not(params.accelerator)}")
    demand_tflite(model)
    _check_host(model)
    runner = inference_runner.load(params.accelerator.split("-")[1].upper())
    summary = json.loads(inputs["summary"].read_text(encoding="utf-8"))
    planned = planned_arena.planned_arena(summary, model.read_bytes())
    if planned + _OWN_BYTES > runner.arena_bytes:
        verdict = _untested(planned, runner)
    else:
        verdict = judge(_load(model, runner), planned, params)
    found = {**verdict, "runner": _name(runner), "covers": _COVERS}
    remember(qemu=emulator.version())
    outputs["verdict"].write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def judge(found: RunnerReport, planned: int, params: Params) -> dict[str, Any]:
    """Return the verdict on the firmware's output; `planned`: Vela's figure in bytes."""
    failures = _failures(found, planned, params)
    used = found.arena_bytes
    return {
        "passed": not failures,
        "failures": failures,
        "tested": True,
        "arena_bytes": used,
        "planned_bytes": planned,
        "difference_bytes": None if used is None else used - planned,
        "has_bytes": params.arena_kib * 1024 or None,
        "operators": found.operators,
        "inputs": [asdict(tensor) for tensor in found.inputs],
        "outputs": [asdict(tensor) for tensor in found.outputs],
    }


def _failures(found: RunnerReport, planned: int, params: Params) -> list[str]:
    words = "; ".join(found.errors)
    if found.fault:
        return [
            f"the firmware crashed ({found.fault}) while it loaded the model"
            + (f', after "{words}"' if words else "")
            + "; the file is damaged, or made by a compiler that this TFLite Micro does not know"
        ]
    if found.arena_bytes is None:
        return [f'the firmware refuses the model: "{words}"']
    excess = find_excess(found.arena_bytes, _SOURCE, params.firmware, params.arena_kib)
    return [text for text in (_unplanned(found.arena_bytes, planned), excess) if text]


def _unplanned(used: int, planned: int) -> str:
    """Return the difference from Vela's figure, as a sentence, if it is too large."""
    difference = used - planned
    if abs(difference) <= MOST_DIFFERENCE_BYTES:
        return ""
    return (
        f"TFLite Micro takes {used} bytes of tensor arena, {abs(difference)}"
        f" {'more' if difference > 0 else 'less'} than Vela's {planned}; they may differ by"
        f" {MOST_DIFFERENCE_BYTES}, so Vela's figure cannot be used for a budget"
    )


def _load(model: Path, runner: "Runner") -> RunnerReport:
    """Boot the patched copy, which is deleted afterwards, and read its output."""
    from buildsys.steps.lib.firmware import emulator, inference_runner

    kernel = Path("runner.axf").resolve()
    kernel.write_bytes(runner.patched)
    try:
        session = emulator.boot(
            kernel, model.resolve(), _SECONDS, inference_runner.is_last, _tell_progress
        )
    finally:
        kernel.unlink()
    print("\n".join(session.lines))
    found = inference_runner.read_output(session.lines)
    check_end(model, session, found)
    return found


def _tell_progress(line: str) -> None:
    for index, mark in enumerate(_STAGES):
        if mark in line:
            last = index + 1 == len(_STAGES)  # a step that has ended prints no progress line
            report(index + 1, len(_STAGES), "stages", "" if last else line.removeprefix("INFO - "))


def _check_host(model: Path) -> None:
    from buildsys.steps.lib.firmware import emulator

    if model.stat().st_size > emulator.MOST_MODEL_BYTES:
        most = emulator.MOST_MODEL_BYTES >> 20
        fail(f"{model.resolve().name} is larger than the emulated machine's memory, {most} MiB.")


def check_end(model: Path, session: "Session", found: RunnerReport) -> None:
    """End the step on failures that are unrelated to the model: they give no verdict, and the next
    run tries again.
    """
    from buildsys.steps.lib.firmware import emulator

    name, printed = model.resolve().name, [line for line in session.lines if line.strip()]
    last = "\n".join(f"    {line}" for line in printed[-5:]) or "    nothing"
    if session.end == "died":
        fail(f"{emulator.QEMU} ended with exit code {session.code} while it loaded {name}:\n{last}")
    if session.end == "late":
        fail(
            f"the firmware had not loaded {name} after {_SECONDS:g} s. Run again when this machine is"
            f" less busy. Its last lines:\n{last}"
        )
    if found.arena_bytes is None and not found.errors and not found.fault:
        fail(f"the firmware ended without reporting on {name}. Its last lines:\n{last}")


def _untested(planned: int, runner: "Runner") -> dict[str, Any]:
    """Return a verdict that is neither pass nor failure: the model may still fit its device."""
    return {
        "passed": True,
        "failures": [],
        "tested": False,
        "reason": (
            f"Vela planned {planned} bytes of tensor arena; Arm's runner has {runner.arena_bytes}."
        ),
        "planned_bytes": planned,
    }


def _name(runner: "Runner") -> dict[str, str]:
    return {"file": runner.file, "package": runner.package, "sha256": runner.sha256}
