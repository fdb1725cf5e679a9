"""Run a TFLite file on images, in LiteRT with the kernels used for measuring accuracy, and draw the
detections.
"""

from pathlib import Path
from typing import Any

from buildsys.spec import Resources, StepSpec
from buildsys.steps.lib.metrics.predictions import Params, Picture, predict

__all__ = ["STEP", "Params", "Picture", "run"]

STEP = StepSpec(
    tool_env="evaluate",
    resources=Resources(memory_mib=1000),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Predict; outputs are found by their signature names."""
    from buildsys.steps.lib.networks import litert

    runner = litert.Runner(inputs["tflite"], params.reading.reference_kernels)

    def network(picture: Any) -> Any:
        return runner(picture)

    predict(inputs["tflite"], inputs["pictures"], network, params, outputs["predictions"])
