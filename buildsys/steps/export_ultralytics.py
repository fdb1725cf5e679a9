"""Ultralytics checkpoint -> ONNX, with the raw or the decoded head.

The raw head leaves the network as it computes: box and class logits per stride, keypoints of all
strides together, each a tensor of its own (so that int8 gives each its own scale), named as in
`buildsys.spec.raw_outputs`. The head is changed on the loaded instance, never in site-packages.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources

TOOL_ENV = "ultralytics"
CONSUMES, PRODUCES = Format.CHECKPOINT, Format.ONNX
NEEDS = ("samples",)
BLOCK = "export"
RESOURCES = Resources(memory_mib=1500, framework=True)
_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block."""

    opset: int = 13
    head: Literal["raw", "decoded"] | None = None


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file beside the weights."""

    task: str
    head: str
    opset: int
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The head has been settled by the firmware contract or by `export.head`."""
    assert model.preprocessing is not None
    return Params(
        task=model.task,
        head=model.head,
        opset=settings.opset,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export, drop the metadata (it holds a date), compare ONNX with torch on sample pictures."""
    from buildsys.steps import _ultralytics

    _ultralytics.prepare(Path.cwd())
    import onnx
    import torch

    model = _ultralytics.load_model(inputs["checkpoint"], params.task).fuse(verbose=False)
    for module in model.modules():
        if hasattr(module, "forward_split"):
            # chunk() traces to slices with computed bounds, around which converters put transposes
            module.forward = module.forward_split
    head = model.model[-1]
    if params.head == "raw":
        head.forward = lambda features: _raw_forward(head, features)
    else:
        head.export, head.format, head.dynamic = True, "onnx", False
        if params.task == "segment":
            decode = head.forward
            head.forward = lambda features: _last_channels(decode(features))
    frame = params.preprocessing
    example = torch.zeros(1, 3, frame.height, frame.width)
    with torch.no_grad():
        model(example)  # the decoded head builds its anchors on the first call
        torch.onnx.export(
            model, (example,), str(outputs["onnx"]), opset_version=params.opset, dynamo=False,
            input_names=["images"], output_names=list(params.output_names),
        )  # fmt: skip
    graph = onnx.load(str(outputs["onnx"]))
    del graph.metadata_props[:]
    onnx.save(graph, str(outputs["onnx"]))
    _compare(model, inputs.get("samples"), outputs["onnx"], params)


def _raw_forward(head: Any, features: list[Any]) -> tuple[Any, ...]:
    """Reshape and concatenate, rather than view and permute: no stray transposes after conversion."""
    import torch

    if hasattr(head, "linear"):  # classify: its forward without the softmax
        features = torch.cat(features, 1) if isinstance(features, list) else features
        return (head.linear(head.pool(head.conv(features)).flatten(1)),)

    def flatten(branch: Any, scale: int) -> Any:
        x = branch[scale](features[scale]).permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1, x.shape[-1])

    scales = range(head.nl)
    results = [flatten(head.cv2, i) for i in scales] + [flatten(head.cv3, i) for i in scales]
    if hasattr(head, "cv4"):
        results.append(torch.cat([flatten(head.cv4, i) for i in scales], dim=1))
    if hasattr(head, "proto"):
        results.append(head.proto(features[0]).permute(0, 2, 3, 1))
    return tuple(results)


def _last_channels(values: tuple[Any, Any]) -> tuple[Any, Any]:
    """Detections as they are, prototypes [1, height / 4, width / 4, 32]: TFLite's order of axes."""
    return values[0], values[1].permute(0, 2, 3, 1)


def _compare(model: Any, samples: Path | None, onnx_path: Path, params: Params) -> None:
    import onnxruntime
    import torch

    from buildsys.steps import _parity, _pictures

    pictures = _pictures.to_nchw(_pictures.load(samples, params.preprocessing))
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    for picture in pictures:
        with torch.no_grad():
            values = model(torch.from_numpy(picture[None]))
        values = values if isinstance(values, tuple | list) else (values,)
        reference = dict(zip(params.output_names, (v.numpy() for v in values), strict=False))
        found = dict(
            zip(params.output_names, session.run(None, {"images": picture[None]}), strict=True)
        )
        worst = _parity.require_close("the ONNX export", reference, found, _TOLERANCE)
    print("largest difference, torch against ONNX:", worst)
