"""Export a YOLOX checkpoint to ONNX, with the decoded, the concatenated or the split head.

The split head returns boxes, objectness and classes as separate tensors, so that int8 gives each
its own scale. Exported files take RGB 0..1, like those of every family.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from buildsys.spec import BoardSpec, Family, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.families.yolox_file import read_checkpoint
from buildsys.steps.lib.heads.batch import Batch, memory_mib

if TYPE_CHECKING:
    import numpy as np

    from buildsys.steps.lib.families.onnx_export import Ask


STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.CHECKPOINT,),
    produces=Format.ONNX,
    needs=("samples",),
    block="export",
    # Torch holds a fixed batch: 46 MiB per image of 640 x 640 with YOLOv8n (measured).
    resources=lambda params: Resources(
        memory_mib=memory_mib(params.batch, params.preprocessing, 1500, 50)
    ),
    family=Family(
        heads=(
            ("split", "yolox-split"),
            ("decoded", "yolox-decoded"),
            ("concatenated", "yolox-concatenated"),
        ),
        decoders=(
            ("yolox", "yolox-concatenated"),
            ("yolox-decoded", "yolox-decoded"),
            ("yolox-split", "yolox-split"),
        ),
        architectures=r"yolox-(nano|tiny)",
        examples=(("detect", "yolox-nano"),),
        task_of=lambda architecture: "detect",
        suffixes=(".pth", ".pt"),
        listed=("yolox-nano", "yolox-tiny"),
        side=416,
        nameless=True,
        pixels="BGR 0..255",
        licence=(
            "Trained and exported with YOLOX of Megvii (Apache-2.0), in the package yolox-datamint 0.3.1."
        ),
        read_checkpoint=read_checkpoint,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block. `batch`: images per inference, a number or {min, opt, max}."""

    opset: int = 13
    head: Literal["decoded", "concatenated", "split"] | None = None
    batch: int | dict[str, int] = 1


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file besides the weights."""

    architecture: str
    classes: tuple[str, ...]
    head: str
    opset: int
    batch: Batch
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the firmware contract or `export.head` has already decided the head."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture,
        classes=model.classes,
        head=model.head,
        opset=settings.opset,
        batch=model.batch,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export the network, and compare ONNX with upstream's network on sample images."""
    from buildsys.steps.lib.families import onnx_export, yolox_checkpoint, yolox_head
    from buildsys.steps.lib.files import finite_weights

    source = inputs["checkpoint"], params.architecture, len(params.classes)
    model = yolox_head.load_network(*source, params.head)
    finite_weights.require_finite_torch(model, inputs["checkpoint"])
    frame, names, target = params.preprocessing, params.output_names, outputs["onnx"]
    onnx_export.export(model, frame, params.opset, names, target, params.batch)
    upstream = _upstream(yolox_checkpoint.load_model(*source), params.head)
    onnx_export.compare(upstream, inputs.get("samples"), frame, names, target, params.batch)


def _upstream(model: Any, head: str) -> "Ask":
    """Return upstream's unchanged network, on BGR 0..255, so that the input folding is checked,
    too.
    """
    import numpy as np
    import torch

    model.head.decode_in_inference = head == "yolox-decoded"

    def answer(picture: "np.ndarray") -> tuple[Any, ...]:
        theirs = np.ascontiguousarray(np.round(picture[:, ::-1] * 255))
        with torch.no_grad():
            values = model(torch.from_numpy(theirs)).numpy()
        if head == "yolox-split":
            return values[..., :4], values[..., 4:5], values[..., 5:]
        return (values,)

    return answer
