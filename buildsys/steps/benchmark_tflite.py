"""How long a TFLite file takes on this machine, by LiteRT; a proof beside a build, no input of it.

LiteRT's default kernels run, as an application on this machine would have them: optimized, with
XNNPACK for the operators that it takes. Accuracy is measured on others, the reference kernels.
"""

from pathlib import Path
from typing import Any

from buildsys.spec import Format
from buildsys.steps._latency import Engine, Params, measure, resources
from buildsys.steps._progress import fail

__all__ = ["CONSUMES", "PRODUCES", "TOOL_ENV", "Params", "resources", "run"]

TOOL_ENV = "evaluate"
LOCAL = True
CONSUMES, PRODUCES = Format.TFLITE, Format.METRICS
_KERNELS = "default (optimized, XNNPACK)"


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: tflite. `outputs`: latency, one entry as JSON."""
    from importlib.metadata import version

    from buildsys.steps._models import demand_tflite

    model = inputs["tflite"]
    demand_tflite(model)
    interpreter = _open(model, params.threads)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _fill(detail["shape"], detail["dtype"]))
    engine = Engine(
        name="litert", version=version("ai-edge-litert"), kernels=_KERNELS, format="tflite"
    )
    measure(model, interpreter.invoke, engine, params, outputs["latency"])


def _open(model: Path, threads: int) -> Any:
    """An interpreter with its tensors allocated; ends the step where LiteRT cannot run the file."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(model), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(". ")
        hint = "; what Vela compiled runs on its NPU alone" if "ethos-u" in reason else ""
        fail(f"LiteRT cannot run {model.resolve().name}: {reason}{hint}")
    return interpreter


def _fill(shape: Any, dtype: Any) -> Any:
    """Seeded noise over what the input can hold: 0..1 of real numbers, all of an integer's range."""
    import numpy as np

    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind.kind == "f":
        return rng.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
