"""Measure the latency of an ONNX file on this machine's CPU, in onnxruntime; a proof that no build
depends on.
"""

from dataclasses import replace
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.metrics.latency import Params, measure, resources

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX, Format.QUANTIZED_ONNX),
    produces=Format.LATENCY,
    resources=resources,
    local=True,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: onnx or quantized-onnx. `outputs`: latency, one entry as JSON."""
    from buildsys.steps.lib.metrics.timed_runs import open_onnx

    kind = next(name for name in (Format.QUANTIZED_ONNX, Format.ONNX) if name in inputs)
    infer, engine = open_onnx(inputs[kind], params.threads)
    measure(inputs[kind], infer, replace(engine, format=kind), params, outputs["latency"])
