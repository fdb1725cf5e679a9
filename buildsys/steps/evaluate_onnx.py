"""Measure the accuracy of an ONNX file, in onnxruntime on the CPU."""

from pathlib import Path

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.accuracy import Params, measure

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX,),
    produces=Format.METRICS,
    also_produces=(Format.CURVES,),
    resources=Resources(memory_mib=1000),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure; outputs are decoded with NumPy."""
    from buildsys.steps.lib.networks import onnx_session

    model = inputs["onnx"]
    predict = onnx_session.network(model)
    target, curves = outputs["metrics"], outputs.get("curves")
    measure(model, inputs["dataset"], predict, params, target, "onnx", curves_target=curves)
