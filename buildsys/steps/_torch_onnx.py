"""A network in torch -> an ONNX file whose bytes depend on the network alone, and the comparison."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Preprocessing

if TYPE_CHECKING:
    import numpy as np

Ask = Callable[["np.ndarray"], "tuple[Any, ...]"]
"""Picture float32 [1, 3, height, width], RGB 0..1 -> the reference's outputs, arrays in order."""


def export(
    model: Any, frame: Preprocessing, opset: int, names: tuple[str, ...], target: Path
) -> None:
    """Trace the network with one picture; the input is called `images`, the outputs `names`.

    The file's metadata goes: it holds dates and versions.
    """
    import onnx
    import torch

    example = torch.zeros(1, 3, frame.height, frame.width)
    with torch.no_grad():
        model(example)  # decoded heads build their anchors on the first call
        torch.onnx.export(
            model, (example,), str(target), opset_version=opset, dynamo=False,
            input_names=["images"], output_names=list(names),
        )  # fmt: skip
    graph = onnx.load(str(target))
    del graph.metadata_props[:]
    onnx.save(graph, str(target))


def ask(model: Any) -> Ask:
    """The network that was exported, as the reference."""
    import torch

    def answer(picture: "np.ndarray") -> tuple[Any, ...]:
        with torch.no_grad():
            values = model(torch.from_numpy(picture))
        values = values if isinstance(values, tuple | list) else (values,)
        return tuple(value.numpy() for value in values)

    return answer


def compare(
    reference: Ask, samples: Path | None, frame: Preprocessing, names: tuple[str, ...], target: Path
) -> None:
    """Both on sample pictures, synthetic where there are none; ends the step above the tolerance.

    What the reference gives beyond `names` is left out: decoded heads return their features, too.
    """
    import onnxruntime

    from buildsys.steps import _parity, _pictures

    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for picture in _pictures.to_nchw(_pictures.load(samples, frame)):
        wanted = dict(zip(names, reference(picture[None]), strict=False))
        found = session.run(None, {"images": picture[None]})
        worst = _parity.require_close(
            "the ONNX export", wanted, dict(zip(names, found, strict=True))
        )
    print("largest difference, torch against ONNX:", worst)
