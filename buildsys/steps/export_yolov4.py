"""Export a YOLOv4-tiny checkpoint to ONNX; the outputs are those of the network's last
convolutions.

This head is not decoded: the family serves for comparisons of size and latency. An application
needs additional time for decoding, so the measured latency is slightly too low.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Family, Format, ModelSpec, Preprocessing, Resources, StepSpec

STEP = StepSpec(
    tool_env="yolov4",
    consumes=(Format.CHECKPOINT,),
    produces=Format.ONNX,
    needs=("samples",),
    block="export",
    resources=Resources(memory_mib=1000),
    family=Family(
        heads=(),
        decoders=(),
        architectures=r"yolov4-tiny",
        examples=(("detect", "yolov4-tiny"),),
        task_of=lambda architecture: "detect",
        suffixes=(),
        listed=("yolov4-tiny",),
        side=416,
        nameless=True,
        licence=(
            "YOLOv4-tiny is built by wf-pytorch-yolo-v4 0.2.2 (Apache-2.0, by its package's own words),"
            " from the network description of AlexeyAB's darknet."
        ),
    ),
)
_OUTPUTS = ("predictions_s32", "predictions_s16")
"""Output names in the order of the network description; each [1, cells of that stride, 255]."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block."""

    opset: int = 13


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file besides the weights."""

    architecture: str
    opset: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters, with the input size of the recipe."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture, opset=settings.opset, preprocessing=model.preprocessing
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export the network, and compare ONNX with torch on sample images."""
    from buildsys.steps.lib.families import onnx_export, yolov4_network
    from buildsys.steps.lib.files import finite_weights

    model = yolov4_network.load(inputs["checkpoint"], params.architecture)
    finite_weights.require_finite_torch(model, inputs["checkpoint"])
    frame, target = params.preprocessing, outputs["onnx"]
    onnx_export.export(model, frame, params.opset, _OUTPUTS, target)
    onnx_export.compare(onnx_export.ask(model), inputs.get("samples"), frame, _OUTPUTS, target)
