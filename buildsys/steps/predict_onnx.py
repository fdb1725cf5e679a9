"""Run an ONNX file on images, in onnxruntime on the CPU, and draw the detections."""

from pathlib import Path

from buildsys.spec import Resources, StepSpec
from buildsys.steps.lib.metrics.predictions import Params, Picture, predict

__all__ = ["STEP", "Params", "Picture", "run"]

STEP = StepSpec(
    tool_env="evaluate",
    resources=Resources(memory_mib=1000),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Predict; outputs are found by their names in the file."""
    from buildsys.steps.lib.networks import onnx_session

    model = inputs["onnx"]
    predict(model, inputs["pictures"], onnx_session.network(model), params, outputs["predictions"])
