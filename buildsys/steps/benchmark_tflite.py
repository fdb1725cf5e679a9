"""Measure the latency of a TFLite file on this machine, in LiteRT; a proof that no build depends
on.

It uses LiteRT's default kernels, as an application on this machine would: optimized, with XNNPACK
for the operators that it supports. Accuracy is measured on the same kernels, except for
microcontrollers.
"""

from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.metrics.latency import Params, measure, resources

__all__ = ["STEP", "Params", "run"]

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.LATENCY,
    resources=resources,
    local=True,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: tflite. `outputs`: latency, one entry as JSON."""
    from buildsys.steps.lib.metrics.timed_runs import open_tflite

    infer, engine = open_tflite(inputs["tflite"], params.threads)
    measure(inputs["tflite"], infer, engine, params, outputs["latency"])
