"""Pack calibration images into one file for a device on which TensorRT calibrates; see `buildsys
bundle`.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Preprocessing, Resources, StepSpec

STEP = StepSpec(
    tool_env="evaluate",
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The preprocessing of the images."""

    preprocessing: Preprocessing


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Pack the images. `inputs`: calibration. `outputs`: pictures, .npy, float32 [n, 3, height,
    width] in 0..1.
    """
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.tensorrt import calibration_images

    pictures = prepared_images.load(inputs["calibration"], params.preprocessing)
    calibration_images.save(outputs["pictures"], pictures)
