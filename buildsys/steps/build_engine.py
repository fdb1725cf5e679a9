"""ONNX -> engine of TensorRT, or of TensorRT-RTX, which needs no GPU to build one.

TensorRT is the machine's own (see `host_library`), and builds for the GPU that is there: the target
declares version and compute capability, both are in the key, and the machine is held against them.
So a machine without a GPU computes the same key, and restores.

Quantized files are strongly typed networks: float16 and int8 are the file's, no flag of the builder
lowers anything. Up to TensorRT 10 a float file can be lowered by flags instead (see `_engine_weakly_typed`).

Of its bytes: TensorRT-RTX gives the same for float32 and int8 each time; for float16 see
`engine_program`. TensorRT measures kernels, and two builds may choose two: the key promises the
network, not those bytes.
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
    # Of a file that a verdict rejects, no engine is built.
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
"""`ComputeCapability` of TensorRT-RTX 1.7.1."""
JETSONS = ("8.7", "11.0")
"""Of Jetson Orin and Thor, and of nothing else: their TensorRT is JetPack's
(https://developer.nvidia.com/cuda-gpus)."""
WEAKLY_TYPED_UNTIL = 10
"""TensorRT 11 has neither precision flags nor calibrators (its migration guide, "removed APIs")."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `tensorrt` block.

    `library`, `version`: what builds, and what has to load; `local`: this machine's. `gpu`: its name,
    for people. `compute_capability`: the kind of GPU that it is for; TensorRT-RTX builds for every one
    of 8.0 and later without it
    (https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html).
    `workspace_gib`: the most that a layer may take of the GPU's memory. `optimization_level`: 0 to 5,
    how long the builder searches. `version_compatible`, `hardware_compatibility`: engines that newer
    versions and other GPUs load, slower. `int8`: whether scales come from the file (qdq) or from
    TensorRT's entropy calibration, up to TensorRT 10.
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
    """Whether flags say which precisions an int8 engine may use, and the file says none.

    TensorRT 8.6 has no strongly typed networks, and its parser ends with opset 17 (onnx-tensorrt 8.6,
    docs/operators.md): a quantize operator of float16 needs 19.
    """
    return settings.version.startswith("8.") or settings.int8 == "calibrator"


@dataclass(frozen=True, kw_only=True)
class Params:
    """The settings; `compute_capability` empty: any from 8.0 on; `scheme`: what a float file is
    lowered to; `optimization_level`: TensorRT's default is 3. `half`: of an int8 engine that flags
    lower, whether what is not int8 may be float16.
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
    """As the target declares it."""
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
    """What the program is asked for, with names of files in its own folder (see engine_program).

    `quantized`: the file says its precision; `calibrated`: there is a calibration cache, or will be.
    TensorRT 8.6 has no strongly typed networks: flags allow it what the file says.
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
    """`outputs`: engine; engine-facts, JSON: library, its exact version, GPUs, inputs and outputs."""
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
    if params.library == "tensorrt":  # TensorRT-RTX has no timings, and its bytes know no path
        request["timing_cache"] = os.environ.get("BUILDSYS_TIMING_CACHES", "")
        python = host_library.interpreter()
    builder_process.run_builder(python, request)
    shutil.copyfile("model.engine", outputs[Format.ENGINE])
    shutil.copyfile("facts.json", outputs["engine-facts"])
