"""What a YOLOX checkpoint answers to prepared pictures, with the head that is exported."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, ModelSpec, Preprocessing, Resources
from buildsys.steps import _recording

TOOL_ENV = "yolox"
CONSUMES, PRODUCES = Format.CHECKPOINT, Format.RECORDING
RESOURCES = Resources(memory_mib=1500, framework=True)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Which network and head, the outputs' canonical names, how many pictures."""

    architecture: str
    classes: tuple[str, ...]
    head: str
    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def plan(model: ModelSpec, names: tuple[str, ...], count: int) -> Params:
    """`names` of the outputs in canonical order; `count` pictures."""
    assert model.preprocessing is not None
    return Params(
        architecture=model.architecture, classes=model.classes, head=model.head, names=names,
        count=count, preprocessing=model.preprocessing,
    )  # fmt: skip


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Outputs in canonical order, float32."""
    from buildsys.steps import _pictures, _yolox, _yolox_head

    _yolox.prepare()
    import torch

    model = _yolox.load_model(inputs["checkpoint"], params.architecture, len(params.classes))
    model = _yolox_head.to_export(model, params.head)

    def answer(picture: Any) -> Iterable[_recording.Output]:
        with torch.no_grad():
            values = model(torch.from_numpy(_pictures.to_nchw(picture[None])))
        return (
            _recording.Output(name=name, values=value.numpy())
            for name, value in zip(params.names, values, strict=True)
        )

    pictures = _recording.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    _recording.record(answer, pictures, outputs["recording"])
