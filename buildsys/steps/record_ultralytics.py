"""What an Ultralytics checkpoint answers to prepared pictures, with the head that is exported."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="ultralytics",
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
    """Which head (`raw` or `decoded`), the outputs' canonical names, how many pictures."""

    task: str
    head: str
    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """With the head that the export gives."""
    assert model.preprocessing is not None
    return Params(
        task=model.task,
        head=model.head,
        names=settings.names,
        count=settings.count,
        preprocessing=model.preprocessing,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Outputs in canonical order, float32."""
    from buildsys.steps.lib.datasets import prepared_images
    from buildsys.steps.lib.families import ultralytics_head, ultralytics_setup

    ultralytics_setup.prepare(Path.cwd())
    import torch

    model = ultralytics_setup.load_model(inputs["checkpoint"], params.task).fuse(verbose=False)
    ultralytics_head.set_head(model, params.head)

    def answer(picture: Any) -> Iterable[recording_files.Output]:
        with torch.no_grad():
            values = model(torch.from_numpy(prepared_images.to_nchw(picture[None])))
        values = values if isinstance(values, tuple | list) else (values,)
        # the decoded head may return its features behind the output
        return (
            recording_files.Output(name=name, values=value.numpy())
            for name, value in zip(params.names, values, strict=False)
        )

    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    recording_files.record(answer, pictures, outputs["recording"])
