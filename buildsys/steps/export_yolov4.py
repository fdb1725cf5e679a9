"""YOLOv4-tiny checkpoint -> ONNX, outputs as the network's last convolutions give them.

Nobody decodes this head: the family is here to be compared with, in size and latency. What is left
out of the file is time that an application spends elsewhere, so latency errs in its favour.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources
from buildsys.steps._family import Family

TOOL_ENV = "yolov4"
CONSUMES, PRODUCES = Format.CHECKPOINT, Format.ONNX
NEEDS = ("samples",)
BLOCK = "export"
RESOURCES = Resources(memory_mib=1000, framework=True)
FAMILY = Family(
    heads=(),
    decoders=(),
    architectures=r"yolov4-tiny",
    examples=(("detect", "yolov4-tiny"),),
    task_of=lambda architecture: "detect",
    suffixes=(),
    nameless=True,
    licence=(
        "YOLOv4-tiny is built by wf-pytorch-yolo-v4 0.2.2 (Apache-2.0, by its package's own words),"
        " from the network description of AlexeyAB's darknet."
    ),
)
_OUTPUTS = ("predictions_s32", "predictions_s16")
"""In the order of the network description; each [1, cells of that stride, 255]."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block."""

    opset: int = 13


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file beside the weights."""

    architecture: str
    opset: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The picture's size is the recipe's."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture, opset=settings.opset, preprocessing=model.preprocessing
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export, drop the metadata, compare ONNX with torch on sample pictures."""
    import onnx
    import torch

    from buildsys.steps import _yolov4

    model = _yolov4.load(inputs["checkpoint"], params.architecture)
    frame = params.preprocessing
    example = torch.zeros(1, 3, frame.height, frame.width)
    with torch.no_grad():
        torch.onnx.export(
            model, (example,), str(outputs["onnx"]), opset_version=params.opset, dynamo=False,
            input_names=["images"], output_names=list(_OUTPUTS),
        )  # fmt: skip
    graph = onnx.load(str(outputs["onnx"]))
    del graph.metadata_props[:]
    onnx.save(graph, str(outputs["onnx"]))
    _compare(model, inputs.get("samples"), outputs["onnx"], params)


def _compare(model: Any, samples: Path | None, onnx_path: Path, params: Params) -> None:
    import onnxruntime
    import torch

    from buildsys.steps import _parity, _pictures

    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    for picture in _pictures.to_nchw(_pictures.load(samples, params.preprocessing)):
        with torch.no_grad():
            values = model(torch.from_numpy(picture[None]))
        reference = dict(zip(_OUTPUTS, (value.numpy() for value in values), strict=True))
        found = session.run(None, {"images": picture[None]})
        worst = _parity.require_close(
            "the ONNX export", reference, dict(zip(_OUTPUTS, found, strict=True))
        )
    print("largest difference, torch against ONNX:", worst)
