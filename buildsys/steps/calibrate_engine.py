"""Make TensorRT's entropy calibration cache (int8 scales, up to TensorRT 10) from ONNX and
calibration images.

The cache is an artifact of its own: its action key depends on network, images and batch, not on the
other settings of an engine. The program of build_engine calibrates while it builds; the engine that
it builds here is deleted.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import (
    BoardSpec,
    Format,
    ModelSpec,
    Preprocessing,
    Resources,
    StepSpec,
    Templates,
)
from buildsys.steps import build_engine
from buildsys.steps.lib.heads.batch import Batch, calibration_batch

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX,),
    produces=Format.CALIBRATION_CACHE,
    needs=("calibration",),
    block="tensorrt",
    resources=Resources(memory_mib=2000, gpu=True),
    # TensorRT calibrates only on the machine that it builds for.
    requires=lambda params: f"tensorrt {params.version} {params.compute_capability}",
    templates=Templates(folder="engine", files=("cudart.py",)),
    unverified=(
        "Not verified: calibration by TensorRT up to 10. No GPU was here while it was written; NVIDIA's"
        " Python bindings take its calls, and nothing more was tried."
    ),
)
Settings = build_engine.Settings


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the scales depend on besides the network and the images. `batch`: images per inference."""

    version: str
    compute_capability: str
    preprocessing: Preprocessing
    batch: Batch


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the engine's batch and version."""
    assert model.preprocessing is not None
    return Params(
        version=settings.version,
        compute_capability=settings.compute_capability or "",
        preprocessing=model.preprocessing,
        batch=model.batch,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: onnx, calibration, templates. `outputs`: calibration-cache."""
    import shutil

    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.tensorrt import builder_process, calibration_images, host_library

    pictures = prepared_images.load(inputs["calibration"], params.preprocessing)
    calibration_images.save(Path("pictures.npy"), pictures)
    shutil.copyfile(inputs[Format.ONNX], "model.onnx")
    shutil.copyfile(inputs["templates"] / "cudart.py", "cudart.py")
    settings = build_engine.Params(
        library="tensorrt",
        version=params.version,
        compute_capability=params.compute_capability,
        workspace_gib=1,
        optimization_level=0,
        version_compatible=False,
        hardware_compatibility="none",
        scheme="int8",
        batch=params.batch,
    )
    request = build_engine.make_request(settings, quantized=False, calibrated=True)
    count = calibration_batch(params.batch, len(pictures))
    request |= {"pictures": "pictures.npy", "calibration_batch": count, "cudart": "cudart.py"}
    builder_process.run_builder(host_library.interpreter(), request)
    shutil.copyfile("calibration.cache", outputs[Format.CALIBRATION_CACHE])
