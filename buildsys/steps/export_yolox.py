"""YOLOX checkpoint -> ONNX, with the decoded, the concatenated or the split head.

The split head leaves boxes, objectness and classes each a tensor of its own, so that int8 gives each
its own scale. Exported files take RGB 0..1, like every family's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources
from buildsys.steps._family import Family
from buildsys.steps._yolox_file import read_checkpoint

TOOL_ENV = "yolox"
CONSUMES, PRODUCES = Format.CHECKPOINT, Format.ONNX
NEEDS = ("samples",)
BLOCK = "export"
RESOURCES = Resources(memory_mib=1500, framework=True)
FAMILY = Family(
    heads=(
        ("split", "yolox-split"), ("decoded", "yolox-decoded"),
        ("concatenated", "yolox-concatenated"),
    ),
    decoders=(
        ("yolox", "yolox-concatenated"), ("yolox-decoded", "yolox-decoded"),
        ("yolox-split", "yolox-split"),
    ),
    architectures=r"yolox-(nano|tiny)",
    examples=(("detect", "yolox-nano"),),
    task_of=lambda architecture: "detect",
    suffixes=(".pth",),
    nameless=True,
    pixels="BGR 0..255",
    licence="The network is YOLOX of Megvii (Apache-2.0), in the package yolox-datamint 0.3.1.",
    read_checkpoint=read_checkpoint,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block."""

    opset: int = 13
    head: Literal["decoded", "concatenated", "split"] | None = None


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file beside the weights."""

    architecture: str
    classes: tuple[str, ...]
    head: str
    opset: int
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The head has been settled by the firmware contract or by `export.head`."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture,
        classes=model.classes,
        head=model.head,
        opset=settings.opset,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export, drop the metadata, compare ONNX with upstream's network on sample pictures."""
    from buildsys.steps import _yolox, _yolox_head

    _yolox.prepare()
    import onnx
    import torch

    source = inputs["checkpoint"], params.architecture, len(params.classes)
    model = _yolox_head.to_export(_yolox.load_model(*source), params.head)
    example = torch.zeros(1, 3, params.preprocessing.height, params.preprocessing.width)
    with torch.no_grad():
        torch.onnx.export(
            model, (example,), str(outputs["onnx"]), opset_version=params.opset, dynamo=False,
            input_names=["images"], output_names=list(params.output_names),
        )  # fmt: skip
    graph = onnx.load(str(outputs["onnx"]))
    del graph.metadata_props[:]
    onnx.save(graph, str(outputs["onnx"]))
    _compare(_yolox.load_model(*source), inputs.get("samples"), outputs["onnx"], params)


def _compare(model: Any, samples: Path | None, onnx_path: Path, params: Params) -> None:
    """Upstream's network as it was loaded, on BGR 0..255: so what was folded is checked, too."""
    import numpy as np
    import onnxruntime
    import torch

    from buildsys.steps import _parity, _pictures

    model.head.decode_in_inference = params.head == "yolox-decoded"
    pictures = _pictures.to_nchw(_pictures.load(samples, params.preprocessing))
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    for picture in pictures:
        theirs = np.ascontiguousarray(np.round(picture[None, ::-1] * 255))
        with torch.no_grad():
            values = model(torch.from_numpy(theirs)).numpy()
        reference = _by_name(values, params)
        found = session.run(None, {"images": picture[None]})
        named = dict(zip(params.output_names, found, strict=True))
        worst = _parity.require_close("the ONNX export", reference, named)
    print("largest difference, torch against ONNX:", worst)


def _by_name(values: Any, params: Params) -> dict[str, Any]:
    """Upstream's one output [1, N, 5 + classes] as the outputs of the head."""
    parts: tuple[Any, ...] = (values,)
    if params.head == "yolox-split":
        parts = values[..., :4], values[..., 4:5], values[..., 5:]
    return dict(zip(params.output_names, parts, strict=True))
