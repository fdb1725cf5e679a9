"""Compile an int8 TFLite file for an Arm Ethos-U NPU, with the Vela version that the target names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.files.tflite_bounds import demand_tflite
from buildsys.steps.lib.runtime.progress import fail

STEP = StepSpec(
    # One environment per generation of the compiler.
    tool_env=lambda params: f"vela-{params.version}",
    consumes=(Format.TFLITE,),
    produces=Format.VELA,
    also_produces=("summary",),
    block="vela",
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `vela` block. `config`: an ini file in the target's folder; empty for Vela's own
    vela.ini.
    """

    version: str
    accelerator: Literal[
        "ethos-u55-32",
        "ethos-u55-64",
        "ethos-u55-128",
        "ethos-u55-256",
        "ethos-u65-256",
        "ethos-u65-512",
        "ethos-u85-128",
        "ethos-u85-256",
        "ethos-u85-512",
        "ethos-u85-1024",
        "ethos-u85-2048",
    ]
    system_config: str
    memory_mode: str
    config: str | None = None
    optimise: Literal["Performance", "Size"] = "Performance"


@dataclass(frozen=True, kw_only=True)
class Params:
    """Vela's options; the content of the ini file is an input."""

    version: str
    accelerator: str
    system_config: str
    memory_mode: str
    optimise: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the options that the target declares."""
    return Params(
        version=settings.version,
        accelerator=settings.accelerator,
        system_config=settings.system_config,
        memory_mode=settings.memory_mode,
        optimise=settings.optimise,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Run Vela's command line, and keep the model and the summary."""
    import json
    import shutil
    import subprocess
    import sys

    demand_tflite(inputs["tflite"])
    config = ["--config", str(inputs["config"].resolve())] if "config" in inputs else []
    command = [
        str(Path(sys.executable).parent / "vela"),
        str(inputs["tflite"]),
        "--output-dir",
        "vela",
        *config,
        "--accelerator-config",
        params.accelerator,
        "--system-config",
        params.system_config,
        "--memory-mode",
        params.memory_mode,
        "--optimise",
        params.optimise,
    ]
    done = subprocess.run(
        command, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(done.stdout)
    found = sorted(Path("vela").glob("*_vela.tflite"))
    if done.returncode or len(found) != 1:
        last = "\n".join(done.stdout.strip().splitlines()[-4:])
        fail(f"vela ended with exit code {done.returncode}:\n{last}")
    shutil.copyfile(found[0], outputs["vela-tflite"])
    outputs["summary"].write_text(json.dumps(_summary(), indent=1, sort_keys=True) + "\n")


def _summary() -> dict[str, float]:
    """Return Vela's own estimates: memory in bytes, time in milliseconds."""
    import csv

    (path,) = Path("vela").glob("*_summary_*.csv")
    with path.open(newline="", encoding="utf-8") as stream:
        row = list(csv.DictReader(stream))[-1]
    kibibytes = {
        "sram_bytes": "sram_memory_used",
        "dram_bytes": "dram_memory_used",
        "on_chip_flash_bytes": "on_chip_flash_memory_used",
        "off_chip_flash_bytes": "off_chip_flash_memory_used",
    }
    figures: dict[str, float] = {
        name: round(float(row[column]) * 1024) for name, column in kibibytes.items()
    }
    figures["estimated_ms"] = round(float(row["inference_time"]) * 1000, 3)
    return figures
