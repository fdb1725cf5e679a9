"""Running ONNX files with onnxruntime on the CPU."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def network(path: Path) -> Callable[[Any], dict[str, Any]]:
    """A file as a function: picture uint8 [h, w, 3] -> {name of the output: float32 array}."""
    import onnxruntime

    from buildsys.steps import _models, _pictures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    session = _models.open_session(path, options)
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name

    def run(picture: Any) -> dict[str, Any]:
        values = session.run(None, {feed: _pictures.to_nchw(picture[None])})
        return dict(zip(names, values, strict=True))

    return run
