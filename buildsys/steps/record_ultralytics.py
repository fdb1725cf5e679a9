"""Record an Ultralytics checkpoint's outputs for prepared images, with the exported head."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.families import torch_recording
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="ultralytics",
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
    """The head (of `outputs.HEADS`), the outputs' canonical names, and the number of images."""

    task: str
    head: str
    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters with the exported head."""
    assert model.preprocessing is not None
    return Params(
        task=model.task,
        head=model.head,
        names=settings.names,
        count=settings.count,
        preprocessing=model.preprocessing,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Record the outputs in canonical order, float32."""
    from buildsys.steps.lib.families import ultralytics_export

    model = ultralytics_export.load_network(inputs["checkpoint"], params.task, params.head)
    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    torch_recording.record_torch(model, params.names, pictures, outputs["recording"])
