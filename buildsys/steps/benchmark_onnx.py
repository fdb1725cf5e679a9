"""How long an ONNX file takes on this machine's CPU, by onnxruntime; a proof beside a build."""

from pathlib import Path

from buildsys.spec import Format
from buildsys.steps.lib.metrics.latency import Params, measure, resources

__all__ = ["CONSUMES", "PRODUCES", "TOOL_ENV", "Params", "resources", "run"]

TOOL_ENV = "evaluate"
LOCAL = True
CONSUMES, PRODUCES = Format.ONNX, Format.METRICS


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: onnx. `outputs`: latency, one entry as JSON."""
    from buildsys.steps.lib.metrics.timed_runs import open_onnx

    infer, engine = open_onnx(inputs["onnx"], params.threads)
    measure(inputs["onnx"], infer, engine, params, outputs["latency"])
