"""Run ONNX files with onnxruntime on the CPU."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail


def network(path: Path) -> Callable[[Any], dict[str, Any]]:
    """Return a file as a function: image uint8 [h, w, 3] -> {name of the output: array [1, …]}, in
    file order.

    A file with a fixed batch of n gets the image n times; its first result is used.
    """
    import numpy as np
    import onnxruntime

    from buildsys.steps.lib.files import model_files
    from buildsys.steps.lib.images import prepared_images

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    # Above this level convolutions use blocks of channels whose size depends on the CPU, which
    # changes the sums; at this level results are the same on every CPU, in up to 1.7 times the
    # time.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    model = model_files.load_onnx(path)
    same = without_softmax(model)
    content = None if same is model else same.SerializeToString()
    session = model_files.open_session(path, options, content)
    names = [output.name for output in session.get_outputs()]
    feed = session.get_inputs()[0].name
    count = batch_of(session)

    def run(picture: Any) -> dict[str, Any]:
        given = np.repeat(prepared_images.to_nchw(picture[None]), count, axis=0)
        values = ask(session, path, feed, given)
        return {
            name: value if count == 1 else _first(name, value, count)
            for name, value in zip(names, values, strict=True)
        }

    return run


def without_softmax(model: Any) -> Any:
    """Return the network with ONNX's own definition instead of each Softmax and LogSoftmax; the
    same object if it has neither.

    onnxruntime's kernels of both add as many values at once as fit into the CPU's registers, so
    that sums are rounded differently with AVX-512; the kernels of the definition's operators
    (ReduceMax, Sub, Exp, ReduceSum, Div) agree. Before opset 13 ONNX has no definition, and the
    operators stay.
    """
    from onnx import inliner

    kinds = ("Softmax", "LogSoftmax")
    if not any(node.op_type in kinds for node in model.graph.node):
        return model
    return inliner.inline_selected_functions(
        model, [("", kind) for kind in kinds], inline_schema_functions=True
    )


def ask(session: Any, path: Path, feed: str, given: Any) -> Any:
    """Return the file's outputs; ends the step if it does not accept the recipe's images."""
    try:
        return session.run(None, {feed: given})
    except Exception as error:  # onnxruntime's own classes are private
        (image,) = session.get_inputs()[:1]
        fail(
            f"onnxruntime cannot run {path.resolve().name}, which takes {image.shape}"
            f" {image.type}, on images of {list(given.shape)}: {str(error).splitlines()[0][:200]}"
        )


def batch_of(session: Any) -> int:
    """Return the batch size of an onnxruntime session; 1 for a dynamic axis."""
    shape = session.get_inputs()[0].shape
    return shape[0] if shape and isinstance(shape[0], int) else 1


def _first(name: str, value: Any, count: int) -> Any:
    if value.shape[:1] != (count,):
        fail(
            f"the file takes {count} images at once, but the first side of its output {name}"
            f" {value.shape} is not {count}: the part of each image is unknown. Export the file for"
            " one image."
        )
    return value[:1]
