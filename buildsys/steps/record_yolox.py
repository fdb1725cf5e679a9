"""Record a YOLOX checkpoint's outputs for prepared images, with the exported head."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.families import torch_recording
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.CHECKPOINT,),
    produces=Format.RECORDING,
    resources=Resources(memory_mib=1500),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`names`: outputs in canonical order; `count`: number of images."""

    names: tuple[str, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class Params:
    """The network and head, the outputs' canonical names, and the number of images."""

    architecture: str
    classes: tuple[str, ...]
    head: str
    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters with the exported head."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture,
        classes=model.classes,
        head=model.head,
        names=settings.names,
        count=settings.count,
        preprocessing=model.preprocessing,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Record the outputs in canonical order, float32."""
    from buildsys.steps.lib.families import yolox_head

    source = inputs["checkpoint"], params.architecture, len(params.classes)
    model = yolox_head.load_network(*source, params.head)
    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    torch_recording.record_torch(model, params.names, pictures, outputs["recording"])
