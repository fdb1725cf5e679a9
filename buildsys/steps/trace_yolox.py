"""Trace a YOLOX checkpoint into a program of torch, with the same head as the ONNX export.

The converter from torch to TFLite starts from it, and does not need YOLOX.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import (
    BoardSpec,
    Format,
    Intermediate,
    ModelSpec,
    Preprocessing,
    Resources,
    StepSpec,
)

STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.CHECKPOINT,),
    produces=Intermediate.PROGRAM,
    needs=("samples",),
    resources=Resources(memory_mib=1500),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the program besides the weights."""

    architecture: str
    classes: int
    head: str
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the firmware contract or `export.head` has already decided the head."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture,
        classes=len(model.classes),
        head=model.head,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Set the head, trace the network, and compare the program with it on sample images."""
    from buildsys.steps.lib.families import torch_program, yolox_head
    from buildsys.steps.lib.files import finite_weights

    source = inputs["checkpoint"], params.architecture, params.classes
    model = yolox_head.load_network(*source, params.head)
    finite_weights.require_finite_torch(model, inputs["checkpoint"])
    frame, names = params.preprocessing, params.output_names
    torch_program.save(model, frame, names, inputs.get("samples"), outputs["program"])
