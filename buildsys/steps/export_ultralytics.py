"""Export an Ultralytics checkpoint to ONNX, with the raw or the decoded head of one of its
branches.

The raw head returns the network's values unchanged: box and class logits per stride, keypoints of
all strides together. Each is a separate tensor, so that int8 gives each its own scale; names as in
`outputs`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildsys.spec import BoardSpec, Family, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.families.ultralytics_architectures import (
    ARCHITECTURES,
    USUAL,
    architecture_problem,
    architecture_strides,
)
from buildsys.steps.lib.families.ultralytics_file import read_checkpoint
from buildsys.steps.lib.families.ultralytics_networks import (
    HEAD_TASKS,
    HEADS,
    branches_of,
    heads_of,
    training_problem,
)
from buildsys.steps.lib.families.ultralytics_tasks import SUFFIXES, architecture_task, example_of
from buildsys.steps.lib.heads.batch import Batch, memory_mib

STEP = StepSpec(
    tool_env="ultralytics",
    consumes=(Format.CHECKPOINT,),
    produces=Format.ONNX,
    needs=("samples",),
    block="export",
    # Torch holds a fixed batch: 46 MiB per image of 640 x 640 with YOLOv8n (measured).
    resources=lambda params: Resources(
        memory_mib=memory_mib(params.batch, params.preprocessing, 1500, 50)
    ),
    family=Family(
        heads=HEADS,
        heads_of=heads_of,
        head_tasks=HEAD_TASKS,
        branches_of=branches_of,
        decoders=(
            ("yolov8-raw", "raw"),
            ("yolov8-decoded", "decoded"),
            ("yolov8-normalized", "normalized"),
            ("yolov8-split", "split"),
            ("yolo26-raw", "yolo26-raw"),
        ),
        architectures=ARCHITECTURES,
        listed=USUAL,
        architecture_problem=architecture_problem,
        strides=architecture_strides,
        training_problem=training_problem,
        examples=tuple((task, example_of(task)) for task in SUFFIXES),
        task_of=architecture_task,
        suffixes=(".pt", ".pth"),
        sizes="n, s, m, l, x: small and fast to large",
        branched=("pose", "segment", "obb"),
        licence=(
            "Trained and exported with Ultralytics (AGPL-3.0): its licence, or an Enterprise licence from"
            " Ultralytics, governs the use of this model."
        ),
        holds_objects=True,
        read_checkpoint=read_checkpoint,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `export` block. `batch`: images per inference, a number or {min, opt, max}. `branch`: for
    networks with two branches; the default is one-to-many if a firmware does suppression, otherwise
    the network's own.
    """

    opset: int = 13
    head: Literal["raw", "decoded", "normalized", "split"] | None = None
    branch: Literal["one-to-many", "one-to-one"] | None = None
    batch: int | dict[str, int] = 1


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the ONNX file besides the weights."""

    task: str
    head: str
    opset: int
    batch: Batch
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the firmware contract or `export.head` has already decided the head."""
    assert model.preprocessing is not None
    return Params(
        task=model.task,
        head=model.head,
        opset=settings.opset,
        batch=model.batch,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Export the network, and compare ONNX with torch on sample images."""
    from buildsys.steps.lib.families import onnx_export, ultralytics_export
    from buildsys.steps.lib.files import finite_weights

    model = ultralytics_export.load_network(inputs["checkpoint"], params.task, params.head)
    finite_weights.require_finite_torch(model, inputs["checkpoint"])
    frame, names, target = params.preprocessing, params.output_names, outputs["onnx"]
    onnx_export.export(model, frame, params.opset, names, target, params.batch)
    reference, samples = onnx_export.ask(model), inputs.get("samples")
    onnx_export.compare(reference, samples, frame, names, target, params.batch)
