"""What an ONNX file sees, by onnxruntime on the CPU."""

import os
from pathlib import Path
from typing import Any

from buildsys.spec import Resources
from buildsys.steps._predict import Params, Picture, predict

__all__ = ["TOOL_ENV", "Params", "Picture", "run"]

TOOL_ENV = "evaluate"
RESOURCES = Resources(memory_mib=1000)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Outputs by their names in the file."""
    import onnxruntime

    from buildsys.steps import _pictures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    session = onnxruntime.InferenceSession(
        str(inputs["onnx"]), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name

    def network(picture: Any) -> Any:
        values = session.run(None, {feed: _pictures.to_nchw(picture[None])})
        return dict(zip(names, values, strict=True))

    predict(inputs["onnx"], inputs["pictures"], network, params, outputs["predictions"])
