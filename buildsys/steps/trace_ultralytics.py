"""Trace an Ultralytics checkpoint into a program of torch, with the same head as the ONNX export.

The converter from torch to TFLite starts from it, and does not need Ultralytics.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    tool_env="ultralytics",
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

    task: str
    head: str
    preprocessing: Preprocessing
    output_names: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the firmware contract or `export.head` has already decided the head."""
    assert model.preprocessing is not None
    return Params(
        task=model.task,
        head=model.head,
        preprocessing=model.preprocessing,
        output_names=tuple(tensor.name for tensor in model.outputs),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Set the head, trace the network, and compare the program with it on sample images."""
    from buildsys.steps.lib.families import torch_program, ultralytics_export
    from buildsys.steps.lib.files import finite_weights
    from buildsys.steps.lib.heads.branches import layout

    model = ultralytics_export.load_network(inputs["checkpoint"], params.task, params.head)
    finite_weights.require_finite_torch(model, inputs["checkpoint"])
    if layout(params.head) in ("normalized", "split"):  # these heads use each stride as a number
        _settle_strides(model.model[-1])
    frame, names = params.preprocessing, params.output_names
    torch_program.save(model, frame, names, inputs.get("samples"), outputs["program"])


def _settle_strides(head: Any) -> None:
    """Replace a head's tensor of strides by a list, because tracing cannot read a number from a tensor."""
    strides = head.stride.tolist()
    del head.stride
    head.stride = strides
