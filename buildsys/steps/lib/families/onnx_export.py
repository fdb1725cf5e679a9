"""A network in torch -> an ONNX file whose bytes depend on the network alone, and the comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Preprocessing
from buildsys.steps.lib.heads.batch import AXIS, Batch, is_open

if TYPE_CHECKING:
    import numpy as np
    import onnx

Ask = Callable[["np.ndarray"], "tuple[Any, ...]"]
"""Pictures float32 [n, 3, height, width], RGB 0..1 -> the reference's outputs, arrays in order."""
_ONE: Batch = (1, 1, 1)
_TRACED = 2
"""Pictures that an open axis is traced with: a 1 could be taken for an axis that stretches."""


def export(
    model: Any,
    frame: Preprocessing,
    opset: int,
    names: tuple[str, ...],
    target: Path,
    batch: Batch = _ONE,
) -> None:
    """Trace the network; the input is called `images`, the outputs `names`, their first axis `batch`
    where it is open. The file's metadata goes: it holds dates and versions.
    """
    import onnx
    import torch

    axes = {name: {0: AXIS} for name in ("images", *names)} if is_open(batch) else None
    example = torch.zeros(_TRACED if axes else batch[0], 3, frame.height, frame.width)
    with torch.no_grad():
        values = model(example)  # decoded heads build their anchors on the first call
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
    """Behind an open axis the exporter leaves others open that are none; the network says them."""
    for output, value in zip(graph.output, values, strict=False):
        for axis, side in zip(output.type.tensor_type.shape.dim[1:], value.shape[1:], strict=True):
            axis.dim_value = side


def ask(model: Any) -> Ask:
    """The network that was exported, as the reference."""
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
    """Both on sample pictures, synthetic where there are none; ends the step above the tolerance.

    What the reference gives beyond `names` is left out: decoded heads return their features, too.
    """
    import onnxruntime

    from buildsys.steps.lib.datasets import prepared_images
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
    """What both are asked, float32 [n, 3, height, width] each.

    Of an open axis every picture alone, and one batch of more than there are; of a settled one
    batches of its size, filled up with the first pictures again.
    """
    import numpy as np

    size, shape = batch[0], pictures.shape[1:]
    if is_open(batch):
        return [*pictures[:, None], np.concatenate([pictures, pictures[:1]])]
    count = -(-len(pictures) // size) * size
    return list(np.resize(pictures, (count, *shape)).reshape(-1, size, *shape))
