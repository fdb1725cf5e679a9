"""Build an engine from an ONNX file, with TensorRT or with TensorRT-RTX, which needs no GPU for
that.

TensorRT is the one installed on the machine (see `host_library`), and it builds for the GPU in the
machine: the target declares version and compute capability, both are part of the key, and the
machine is checked against them. A machine without a GPU therefore computes the same key and can
restore the engine.

Quantized files are strongly typed networks: the file itself says where float16 and int8 apply, and
no builder flag changes a precision. Up to TensorRT 10, flags can lower a float file instead (see
`engine_weakly_typed`).

Reproducibility: TensorRT-RTX writes the same bytes for float32 and int8 each time; for float16 see
`engine_program`. TensorRT chooses kernels by measuring them, and two builds may choose differently:
the key identifies the network, not the bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.heads.batch import Batch

STEP = StepSpec(
    # TensorRT-RTX has an environment per generation; TensorRT is the machine's own.
    tool_env=lambda params: (
        f"tensorrt-rtx-{params.version}" if params.library == "tensorrt-rtx" else "tensorrt"
    ),
    consumes=(Format.ONNX, Format.QUANTIZED_ONNX),
    produces=Format.ENGINE,
    also_produces=("engine-facts",),
    # A rejected file gets no engine.
    needs=("calibration-cache", "verdict"),
    stage="engine",
    block="tensorrt",
    # TensorRT measures kernels on a GPU of its own.
    resources=lambda params: Resources(memory_mib=2000, gpu=params.library == "tensorrt"),
    # The machine that TensorRT builds on; TensorRT-RTX needs none.
    requires=lambda params: (
        ""
        if params.library == "tensorrt-rtx"
        else f"tensorrt {params.version} {params.compute_capability}"
    ),
    unverified=(
        "Not verified: the engine itself; no engine was ever run on a GPU while this step was written."
        " Accuracy is that of the ONNX file before it, except where evaluate-engine was done."
    ),
)
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The values of `ComputeCapability` in TensorRT-RTX 1.7.1."""
JETSONS = ("8.7", "11.0")
"""The compute capabilities of Jetson Orin and Thor alone; their TensorRT comes with JetPack
(https://developer.nvidia.com/cuda-gpus).
"""
WEAKLY_TYPED_UNTIL = 10
"""TensorRT 11 has neither precision flags nor calibrators (its migration guide, "removed APIs")."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `tensorrt` block.

    `library`, `version`: the library that builds the engine and has to load it; `local`: the
    version on this machine. `gpu`: a name for readers. `compute_capability`: the kind of GPU that
    the engine is for; without it TensorRT-RTX builds for every GPU from 8.0 on
    (https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html).
    `workspace_gib`: the limit of GPU memory for one layer, in GiB. `optimization_level`: 0 to 5,
    how long the builder searches. `version_compatible`, `hardware_compatibility`: slower engines
    that newer versions and other GPUs can load. `int8`: whether scales come from the file (qdq) or
    from TensorRT's entropy calibration, up to TensorRT 10.
    """

    library: Literal["tensorrt", "tensorrt-rtx"] = "tensorrt"
    version: str
    compute_capability: str | None = None
    gpu: str | None = None
    workspace_gib: int = 1
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatibility: Literal["none", "ampere-plus", "same-compute-capability"] = "none"
    int8: Literal["qdq", "calibrator"] = "qdq"


def is_weakly_typed(settings: Settings) -> bool:
    """Return whether builder flags, rather than the file, state which precisions an int8 engine may
    use.

    TensorRT 8.6 has no strongly typed networks, and its parser supports opsets up to 17
    (onnx-tensorrt 8.6, docs/operators.md): a quantize operator of float16 needs 19.
    """
    return settings.version.startswith("8.") or settings.int8 == "calibrator"


@dataclass(frozen=True, kw_only=True)
class Params:
    """The settings. `compute_capability`: empty for any from 8.0 on. `scheme`: the precision that a
    float file is lowered to. `optimization_level`: TensorRT's default is 3. `half`: for an int8
    engine that is lowered by flags, whether layers that are not int8 may use float16.
    """

    library: str
    version: str
    compute_capability: str
    workspace_gib: int
    optimization_level: int
    version_compatible: bool
    hardware_compatibility: str
    scheme: str
    batch: Batch = (1, 1, 1)
    half: bool = False


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters that the target declares."""
    level = settings.optimization_level
    return Params(
        library=settings.library,
        version=settings.version,
        compute_capability=settings.compute_capability or "",
        workspace_gib=settings.workspace_gib,
        optimization_level=3 if level is None else level,
        version_compatible=settings.version_compatible,
        hardware_compatibility=settings.hardware_compatibility,
        scheme=model.quantization.scheme,
        batch=model.batch,
        half=is_weakly_typed(settings) and model.quantization.unquantized == "float16",
    )


def make_request(params: Params, quantized: bool, calibrated: bool) -> dict[str, Any]:
    """Return the request for the program, with names of files in its own folder (see
    engine_program).

    `quantized`: the file states its precision; `calibrated`: a calibration cache exists or will
    exist. TensorRT 8.6 has no strongly typed networks: flags allow the precisions that the file
    states.
    """
    own = quantized or params.scheme == "float32"
    return {
        "library": params.library,
        "version": params.version,
        "compute_capability": params.compute_capability,
        "gpu": "",
        "onnx": "model.onnx",
        "engine": "model.engine",
        "facts": "facts.json",
        "error": "refused.txt",
        "workspace_gib": params.workspace_gib,
        "optimization_level": params.optimization_level,
        "version_compatible": params.version_compatible,
        "hardware_compatibility": params.hardware_compatibility,
        "batch": list(params.batch),
        "typed": own and not params.version.startswith("8."),
        "scheme": params.scheme,
        "half": params.half,
        "calibration_cache": "calibration.cache" if calibrated else "",
        "pictures": "",
        "calibration_batch": 0,
        "cudart": "",
        "timing_cache": "",
    }


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Build the engine. `outputs`: engine; engine-facts, JSON with the library, its exact version,
    GPUs, inputs and outputs.
    """
    import os
    import shutil
    import sys

    from buildsys.steps.lib.tensorrt import builder_process, host_library

    quantized, calibrated = (
        name in inputs for name in (Format.QUANTIZED_ONNX, "calibration-cache")
    )
    shutil.copyfile(inputs[Format.QUANTIZED_ONNX if quantized else Format.ONNX], "model.onnx")
    if calibrated:
        shutil.copyfile(inputs["calibration-cache"], "calibration.cache")
    request, python = make_request(params, quantized, calibrated), sys.executable
    if params.library == "tensorrt":  # TensorRT-RTX measures nothing, and its files hold no path
        request["timing_cache"] = os.environ.get("BUILDSYS_TIMING_CACHES", "")
        python = host_library.interpreter()
    builder_process.run_builder(python, request)
    shutil.copyfile("model.engine", outputs[Format.ENGINE])
    shutil.copyfile("facts.json", outputs["engine-facts"])
