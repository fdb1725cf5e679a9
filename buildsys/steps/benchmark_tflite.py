"""How long a TFLite file takes on this machine, by LiteRT; a proof beside a build, no input of it.

LiteRT's default kernels run, as an application on this machine would have them: optimized, with
XNNPACK for the operators that it takes. Accuracy is measured on them, too, but for microcontrollers.
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
