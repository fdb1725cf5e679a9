"""Accuracy of an ONNX file by onnxruntime on the CPU."""

import os
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources
from buildsys.steps._accuracy import Params, measure

__all__ = ["CONSUMES", "PRODUCES", "TOOL_ENV", "Params", "run"]

TOOL_ENV = "evaluate"
CONSUMES, PRODUCES = Format.ONNX, Format.METRICS
RESOURCES = Resources(memory_mib=1000)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Raw outputs, decoded in numpy."""
    import onnxruntime

    from buildsys.steps import _models, _pictures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    session = _models.open_session(inputs["onnx"], options)
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name

    def predict(picture: Any) -> Any:
        values = session.run(None, {feed: _pictures.to_nchw(picture[None])})
        return dict(zip(names, values, strict=True))

    measure(inputs["onnx"], inputs["dataset"], predict, params, outputs["metrics"], "onnx")
