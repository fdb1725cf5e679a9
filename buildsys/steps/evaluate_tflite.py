"""Measure the accuracy of a TFLite file, in LiteRT: the file before Vela, whose numbers the NPU
computes, too.

Integer files for a microcontroller run on LiteRT's reference kernels, bit-exact with TFLite Micro;
other integer files run on LiteRT's default kernels, as on a Linux board, which differ by up to tens
of quantization steps. Float files run without XNNPACK, whose kernels depend on the CPU. Reference
kernels are slow and use one thread, so several processes share the images.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.accuracy import Params, measure

__all__ = ["STEP", "Params", "run"]

_PROCESSES = 2
"""Number of processes with reference kernels."""

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.METRICS,
    also_produces=(Format.CURVES,),
    resources=lambda params: Resources(
        memory_mib=1000, threads=_PROCESSES if params.reference_kernels else 1
    ),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure; outputs are found by their signature names and decoded with NumPy."""
    from buildsys.steps.lib.networks import litert

    @cache
    def runner() -> Any:
        return litert.Runner(inputs["tflite"], params.reference_kernels)

    def predict(picture: Any) -> Any:
        return runner()(picture)

    target = outputs["metrics"]
    kernels = litert.choose_kernels(inputs["tflite"], params.reference_kernels)
    model, data, curves = inputs["tflite"], inputs["dataset"], outputs.get("curves")
    processes = int(os.environ.get("OMP_NUM_THREADS", "1")) if params.reference_kernels else 1
    measure(model, data, predict, params, target, "tflite", kernels, curves, processes)
