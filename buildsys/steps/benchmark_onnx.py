"""How long an ONNX file takes on this machine's CPU, by onnxruntime; a proof beside a build."""

from pathlib import Path
from typing import Any

from buildsys.spec import Format
from buildsys.steps._latency import Engine, Params, measure, resources
from buildsys.steps._progress import fail

__all__ = ["CONSUMES", "PRODUCES", "TOOL_ENV", "Params", "resources", "run"]

TOOL_ENV = "evaluate"
LOCAL = True
CONSUMES, PRODUCES = Format.ONNX, Format.METRICS
_KERNELS = "CPUExecutionProvider, graph optimizations on"
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8",
          "tensor(int8)": "int8"}  # fmt: skip


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: onnx. `outputs`: latency, one entry as JSON."""
    import onnxruntime

    from buildsys.steps import _models

    model = inputs["onnx"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = params.threads, 1
    session = _models.open_session(model, options)
    feeds = {item.name: _fill(item) for item in session.get_inputs()}
    engine = Engine(
        name="onnxruntime", version=onnxruntime.__version__, kernels=_KERNELS, format="onnx"
    )
    measure(model, lambda: session.run(None, feeds), engine, params, outputs["latency"])


def _fill(item: Any) -> Any:
    """Seeded noise, 0..1 or all of an integer's range; an open batch axis is 1."""
    import numpy as np

    first, *rest = item.shape or (1,)
    shape = (first if isinstance(first, int) else 1, *rest)
    if not all(isinstance(side, int) for side in shape):
        fail(f"its input {item.name} has no settled size ({item.shape}): nothing to measure with.")
    if item.type not in _TYPES:
        fail(f"its input {item.name} holds {item.type}; pictures are {', '.join(_TYPES)}.")
    rng, kind = np.random.default_rng(0), np.dtype(_TYPES[item.type])
    if kind.kind == "f":
        return rng.random(shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
