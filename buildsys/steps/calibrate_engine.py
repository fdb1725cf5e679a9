"""ONNX and calibration pictures -> TensorRT's entropy calibration cache: int8 scales, up to TensorRT 10.

An artifact of its own: keyed by network, pictures and batch, and not by what else an engine is built
with. The same program as build_engine's calibrates while it builds; that engine is thrown away.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources
from buildsys.steps import build_engine
from buildsys.steps._batch import Batch, calibration_batch
from buildsys.steps._progress import fail

TOOL_ENV = "evaluate"
CONSUMES, PRODUCES = Format.ONNX, Format.CALIBRATION_CACHE
NEEDS = ("calibration",)
BLOCK = "tensorrt"
RESOURCES = Resources(memory_mib=2000, gpu=True)
UNVERIFIED = (
    "Not verified: calibration by TensorRT up to 10. No GPU was here while it was written; it was never"
    " run."
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the scales depend on beside the network and the pictures; `batch` says how many at a time."""

    version: str
    compute_capability: str
    preprocessing: Preprocessing
    batch: Batch


def requires(params: Params) -> str:
    """The machine that TensorRT calibrates on."""
    return f"tensorrt {params.version} {params.compute_capability}"


def plan(settings: build_engine.Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The batch is the engine's."""
    assert model.preprocessing is not None
    return Params(
        version=settings.version,
        compute_capability=settings.compute_capability or "",
        preprocessing=model.preprocessing,
        batch=model.batch,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: onnx, calibration. `outputs`: calibration-cache."""
    import json
    import shutil
    import subprocess

    import numpy as np

    from buildsys.steps import _engine_program, _pictures, _tensorrt_host

    pictures = _pictures.to_nchw(_pictures.load(inputs["calibration"], params.preprocessing))
    np.save("pictures.npy", pictures)
    shutil.copyfile(inputs[Format.ONNX], "model.onnx")
    request = {
        "module": "tensorrt", "library": "tensorrt", "version": params.version,
        "compute_capability": params.compute_capability, "workspace_gib": 1,
        "optimization_level": 0, "version_compatible": False, "hardware_compatibility": "none",
        "typed": False, "scheme": "int8", "onnx": "model.onnx", "engine": "model.engine",
        "facts": "facts.json", "error": "refused.txt", "calibration_cache": "calibration.cache",
        "pictures": "pictures.npy", "timing_cache": "", "batch": list(params.batch),
        "calibration_batch": calibration_batch(params.batch, len(pictures)),
    }  # fmt: skip
    Path("engine.json").write_text(json.dumps(request), encoding="utf-8")
    command = [_tensorrt_host.interpreter(), "-s", _engine_program.__file__, "engine.json"]
    done = subprocess.run(command, check=False)
    refused = Path("refused.txt")
    if done.returncode == 3 and refused.is_file():
        fail(f"tensorrt {params.version}: {refused.read_text(encoding='utf-8')}.")
    if done.returncode:
        fail(f"TensorRT's calibration ended with exit code {done.returncode}.")
    shutil.copyfile("calibration.cache", outputs[Format.CALIBRATION_CACHE])
