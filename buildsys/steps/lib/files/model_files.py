"""ONNX files that people bring: readable, whole, and opened with a sentence where they are not."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail


def load_onnx(path: Path) -> Any:
    """The file's ModelProto; ends the step when it is none."""
    import onnx

    try:
        model = onnx.load(str(path))
    except Exception as error:
        fail(f"{_name(path)} is not a readable ONNX file: {_first_line(error)}")
    if not model.graph.node:
        fail(
            f"{_name(path)} is not an ONNX file with a network in it ({path.stat().st_size} bytes)."
        )
    return model


def open_session(path: Path, options: Any = None, content: bytes | None = None) -> Any:
    """An onnxruntime session on the CPU; ends the step when the file cannot be run.

    `content`: what is run in place of the file's bytes.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            content or str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        fail(f"onnxruntime cannot run {_name(path)}: {_first_line(error)}")


def fold(path: Path, target: Path) -> None:
    """The file with everything computed that hangs on constants alone, in ONNX's own operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    open_session(path, options)


def _name(path: Path) -> str:
    """What the user calls the file: an input is a link to it."""
    return path.resolve().name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
