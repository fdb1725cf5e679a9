"""What an ONNX file answers to prepared pictures, by onnxruntime on the CPU."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Preprocessing, Resources
from buildsys.steps import _recording

TOOL_ENV = "evaluate"
CONSUMES, PRODUCES = Format.ONNX, Format.RECORDING
RESOURCES = Resources(memory_mib=1000)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs' canonical names, how many pictures."""

    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Outputs in file order."""
    import onnxruntime

    from buildsys.steps import _models, _pictures

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    session = _models.open_session(inputs["onnx"], options)
    found = [output.name for output in session.get_outputs()]
    names = _recording.name_outputs(found, params.names, inputs["onnx"])
    feed = session.get_inputs()[0].name

    def answer(picture: Any) -> Iterable[_recording.Output]:
        values = session.run(None, {feed: _pictures.to_nchw(picture[None])})
        return (
            _recording.Output(name=name, values=value)
            for name, value in zip(names, values, strict=True)
        )

    pictures = _recording.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    _recording.record(answer, pictures, outputs["recording"])
