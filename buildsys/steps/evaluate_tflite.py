"""Accuracy of a TFLite file by LiteRT: the file before Vela, the same numbers that the NPU gets.

Integer files for a microcontroller run on LiteRT's reference kernels, bit-exact with TFLite Micro;
other integer files on those that LiteRT has by default, as on a Linux board: by up to tens of steps
of the last bit apart. Files of real numbers run without XNNPACK, whose kernels depend on the CPU.
Reference kernels are slow and use one thread: several processes share the pictures.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.accuracy import Params, measure

__all__ = ["STEP", "Params", "run"]

_PROCESSES = 2
"""On reference kernels."""

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
    """Outputs by their signature names, decoded in numpy."""
    from buildsys.steps.lib.runtime import litert

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
