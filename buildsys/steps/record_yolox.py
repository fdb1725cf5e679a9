"""What a YOLOX checkpoint answers to prepared pictures, with the head that is exported."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="yolox",
    consumes=(Format.CHECKPOINT,),
    produces=Format.RECORDING,
    resources=Resources(memory_mib=1500, framework=True),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`names` of the outputs in canonical order; `count` pictures."""

    names: tuple[str, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class Params:
    """Which network and head, the outputs' canonical names, how many pictures."""

    architecture: str
    classes: tuple[str, ...]
    head: str
    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """With the head that the export gives."""
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
    """Outputs in canonical order, float32."""
    from buildsys.steps.lib.datasets import prepared_images
    from buildsys.steps.lib.families import yolox_head, yolox_network

    yolox_network.prepare()
    import torch

    model = yolox_network.load_model(inputs["checkpoint"], params.architecture, len(params.classes))
    model = yolox_head.to_export(model, params.head)

    def answer(picture: Any) -> Iterable[recording_files.Output]:
        with torch.no_grad():
            values = model(torch.from_numpy(prepared_images.to_nchw(picture[None])))
        return (
            recording_files.Output(name=name, values=value.numpy())
            for name, value in zip(params.names, values, strict=True)
        )

    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    recording_files.record(answer, pictures, outputs["recording"])
