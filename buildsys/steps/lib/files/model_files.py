"""Open ONNX files of users; unreadable or truncated files end the step with a message."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail


def load_onnx(path: Path) -> Any:
    """Return the file's ModelProto; ends the step if it is not an ONNX file."""
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
    """Return an onnxruntime session on the CPU; ends the step if the file cannot be run. `content`:
    bytes to run instead of the file's.
    """
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            content or str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        fail(f"onnxruntime cannot run {_name(path)}: {_first_line(error)}")


def fold(path: Path, target: Path) -> None:
    """Write the file with constant expressions folded, using only ONNX's own operators."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    open_session(path, options)


def _name(path: Path) -> str:
    """Return the user's name of the file: an input is a link to it."""
    return path.resolve().name


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
