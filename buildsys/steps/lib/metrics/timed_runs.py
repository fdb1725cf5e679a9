"""Open a model file in LiteRT or onnxruntime, with filled inputs, for timing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

_ONNX_KERNELS = "CPUExecutionProvider, graph optimizations on"
_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """The runtime that runs the file. `kernels`: which implementation of the operators it uses;
    `batch`: images per run.
    """

    name: str
    version: str
    kernels: str
    format: str
    batch: int


def open_tflite(model: Path, threads: int) -> tuple[Callable[[], object], Engine]:
    """Return a function that runs a TFLite file once, and its runtime; ends the step if LiteRT
    cannot run it.
    """
    from importlib.metadata import version

    from buildsys.steps.lib.files.tflite_bounds import demand_tflite
    from buildsys.steps.lib.networks import litert

    demand_tflite(model)
    interpreter = _interpreter(model, threads)
    details = interpreter.get_input_details()
    for detail in details:
        interpreter.set_tensor(detail["index"], fill(detail["shape"], detail["dtype"]))
    found = version("ai-edge-litert")
    kernels = litert.Kernels.DEFAULT  # as an application on this machine would use
    batch = int(details[0]["shape"][0]) if details and len(details[0]["shape"]) else 1
    engine = Engine(name="litert", version=found, kernels=kernels, format="tflite", batch=batch)
    return interpreter.invoke, engine


def _interpreter(model: Path, threads: int) -> Any:
    """Return an interpreter with allocated tensors."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(model), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300].rstrip(". ")
        hint = "; what Vela compiled runs on its NPU alone" if "ethos-u" in reason else ""
        fail(f"LiteRT cannot run {model.resolve().name}: {reason}{hint}")
    return interpreter


def open_onnx(model: Path, threads: int) -> tuple[Callable[[], object], Engine]:
    """Return a function that runs an ONNX file once, and its runtime; ends the step if onnxruntime
    cannot run it.
    """
    import onnxruntime

    from buildsys.steps.lib.files import model_files
    from buildsys.steps.lib.networks import onnx_session

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = model_files.open_session(model, options)
    feeds = {item.name: _fill_open(item) for item in session.get_inputs()}
    engine = Engine(
        name="onnxruntime",
        version=onnxruntime.__version__,
        kernels=_ONNX_KERNELS,
        format="onnx",
        batch=onnx_session.batch_of(session),
    )
    return lambda: session.run(None, feeds), engine


def _fill_open(item: Any) -> Any:
    """Return noise for an ONNX input; a dynamic batch axis is 1."""
    first, *rest = item.shape or (1,)
    shape = (first if isinstance(first, int) else 1, *rest)
    if not all(isinstance(side, int) for side in shape):
        fail(
            f"its input `{item.name}` has open sides, {item.shape}: give the file fixed sides to time it."
        )
    if item.type not in _TYPES:
        fail(f"its input `{item.name}` is {item.type}; images are one of {', '.join(_TYPES)}.")
    return fill(shape, _TYPES[item.type])


def fill(shape: Any, dtype: Any) -> Any:
    """Return seeded noise over the input's range: 0..1 for floats, the full range for integers."""
    import numpy as np

    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    if kind.kind == "f":
        return rng.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
