"""ONNX -> engine of TensorRT-RTX, built ahead of time: no GPU is asked.

The network is strongly typed: float16 and int8 come from the file (see quantize_onnx), no flag of
the builder lowers anything. An engine belongs to the library's version and to the GPUs that it was
built for; both are in its key.

Of its bytes: float32 and int8 engines are the same each time; for float16 see `_engine_program`. Two
machines may still order that table in two ways, so the key promises the network, not those bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources
from buildsys.steps._progress import fail

CONSUMES, PRODUCES = (Format.ONNX, Format.QUANTIZED_ONNX), Format.ENGINE
ALSO_PRODUCES = ("engine-facts",)
NEEDS = ("verdict",)
"""An engine is not built of a file that is blind."""
BLOCK = "tensorrt"
STAGE = "engine"
RESOURCES = Resources(memory_mib=2000)
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""`ComputeCapability` of TensorRT-RTX 1.7.1."""
UNVERIFIED = (
    "Not verified: the engine. It was built without a GPU and never run; accuracy was measured on the"
    " ONNX file that it was built from."
)
_MODULES = {"tensorrt-rtx": "tensorrt_rtx_bindings"}
"""What a library's Python package is called."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `tensorrt` block.

    `library`, `version`: which environment builds, and which has to load. `compute_capability`: the
    one kind of GPU that it is for; without it TensorRT-RTX builds for every one of 8.0 and later
    (https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html).
    `workspace_gib`: the most that a layer may take of the GPU's memory.
    """

    library: Literal["tensorrt-rtx"]
    version: str
    compute_capability: str | None = None
    workspace_gib: int = 1


@dataclass(frozen=True, kw_only=True)
class Params:
    """The settings; `compute_capability` empty: any from 8.0 on."""

    library: str
    version: str
    compute_capability: str
    workspace_gib: int


def tool_env(params: Params) -> str:
    """One environment per library and generation."""
    return f"{params.library}-{params.version}"


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """As the target declares it."""
    return Params(
        library=settings.library,
        version=settings.version,
        compute_capability=settings.compute_capability or "",
        workspace_gib=settings.workspace_gib,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`outputs`: engine; engine-facts, JSON: library, its exact version, GPUs, inputs and outputs."""
    import json
    import os
    import shutil
    import subprocess
    import sys

    from buildsys.steps import _engine_program

    source = inputs.get(Format.QUANTIZED_ONNX) or inputs[Format.ONNX]
    shutil.copyfile(source, "model.onnx")
    request = {  # no paths of this run: see the program
        "module": _MODULES[params.library],
        "onnx": "model.onnx",
        "engine": "model.engine",
        "facts": "facts.json",
        "error": "refused.txt",
        "compute_capability": params.compute_capability,
        "workspace_gib": params.workspace_gib,
    }
    Path("engine.json").write_text(json.dumps(request), encoding="utf-8")
    if not _engine_program.settle():
        print("addresses are shuffled here: a float16 engine's bytes may differ from run to run")
    command = [sys.executable, "-s", _engine_program.__file__, "engine.json"]
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "TZ": "UTC"}
    done = subprocess.run(command, check=False, env=environment)
    refused = Path("refused.txt")
    if done.returncode == 3 and refused.is_file():
        fail(f"{params.library} {params.version}: {refused.read_text(encoding='utf-8')}.")
    if done.returncode:
        fail(f"the builder of {params.library} ended with exit code {done.returncode}.")
    shutil.copyfile("model.engine", outputs[Format.ENGINE])
    facts = json.loads(Path("facts.json").read_text(encoding="utf-8"))
    facts |= {"library": params.library, "compute_capability": params.compute_capability}
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    outputs["engine-facts"].write_text(text, encoding="utf-8")
