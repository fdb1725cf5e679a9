"""Any model file -> the folder to ship it in: the file itself, labels and figures."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import SUFFIXES, BoardSpec, Format, ModelSpec, StepSpec
from buildsys.steps.lib.packages.contents import write_companions

_KINDS = (Format.CHECKPOINT, Format.ONNX, Format.TFLITE)
STEP = StepSpec(
    consumes=_KINDS,
    produces=Format.PACKAGE,
    needs=("verdict", "metrics"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name and the classes."""

    stem: str
    classes: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Named after the recipe (and variant)."""
    return Params(stem=model.name, classes=model.classes)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Copy and write."""
    import shutil

    folder = outputs["package"]
    write_companions(folder, params.classes, inputs)
    for kind in _KINDS:
        if kind in inputs:
            shutil.copyfile(inputs[kind], folder / f"{params.stem}{SUFFIXES[kind]}")
