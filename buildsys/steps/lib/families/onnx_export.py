"""Export a torch network to an ONNX file whose bytes depend only on the network, and compare both."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Preprocessing
from buildsys.steps.lib.heads.batch import AXIS, Batch, is_open

if TYPE_CHECKING:
    import numpy as np
    import onnx

Ask = Callable[["np.ndarray"], "tuple[Any, ...]"]
"""A function: images float32 [n, 3, height, width], RGB 0..1 -> the reference's outputs in order.
"""
_ONE: Batch = (1, 1, 1)
_TRACED = 2
"""Batch size for tracing a dynamic axis: 1 could be mistaken for a broadcast axis."""


def export(
    model: Any,
    frame: Preprocessing,
    opset: int,
    names: tuple[str, ...],
    target: Path,
    batch: Batch = _ONE,
) -> None:
    """Trace the network; the input is named `images`, the outputs `names`, a dynamic first axis
    `batch`. The file's metadata is removed, because it holds dates and versions.
    """
    import onnx
    import torch

    axes = {name: {0: AXIS} for name in ("images", *names)} if is_open(batch) else None
    example = torch.zeros(_TRACED if axes else batch[0], 3, frame.height, frame.width)
    with torch.no_grad():
        values = model(example)  # decoded heads build their anchors in the first call
        torch.onnx.export(
            model,
            (example,),
            str(target),
            opset_version=opset,
            dynamo=False,
            input_names=["images"],
            output_names=list(names),
            dynamic_axes=axes,
        )
    graph = onnx.load(str(target))
    if axes:
        _settle_others(graph.graph, values if isinstance(values, tuple | list) else (values,))
    del graph.metadata_props[:]
    onnx.save(graph, str(target))


def _settle_others(graph: "onnx.GraphProto", values: Any) -> None:
    """Set the fixed axes that the exporter marks as dynamic after a dynamic batch axis."""
    for output, value in zip(graph.output, values, strict=False):
        for axis, side in zip(output.type.tensor_type.shape.dim[1:], value.shape[1:], strict=True):
            axis.dim_value = side


def ask(model: Any) -> Ask:
    """Return the exported network as the reference function."""
    import torch

    def answer(pictures: "np.ndarray") -> tuple[Any, ...]:
        with torch.no_grad():
            values = model(torch.from_numpy(pictures))
        values = values if isinstance(values, tuple | list) else (values,)
        return tuple(value.numpy() for value in values)

    return answer


def compare(
    reference: Ask,
    samples: Path | None,
    frame: Preprocessing,
    names: tuple[str, ...],
    target: Path,
    batch: Batch = _ONE,
) -> None:
    """Compare both on sample images, or synthetic ones without data; ends the step above the
    tolerance. Outputs of the reference beyond `names` are ignored: decoded heads also return their
    features.
    """
    import onnxruntime

    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.parity import conversion

    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    pictures = prepared_images.to_nchw(prepared_images.load(samples, frame))
    for given in _batches(pictures, batch):
        wanted = dict(zip(names, reference(given), strict=False))
        found = dict(zip(names, session.run(None, {"images": given}), strict=True))
        stage = f"the ONNX export, {len(given)} at once," if len(given) > 1 else "the ONNX export"
        worst = conversion.require_close(stage, wanted, found)
    print("largest difference, torch against ONNX:", worst)


def _batches(pictures: "np.ndarray", batch: Batch) -> "list[np.ndarray]":
    """Return the batches to compare, float32 [n, 3, height, width] each.

    For a dynamic axis: every image alone, and one batch larger than the set. For a fixed axis:
    batches of its size, padded with the first images.
    """
    import numpy as np

    size, shape = batch[0], pictures.shape[1:]
    if is_open(batch):
        return [*pictures[:, None], np.concatenate([pictures, pictures[:1]])]
    count = -(-len(pictures) // size) * size
    return list(np.resize(pictures, (count, *shape)).reshape(-1, size, *shape))
