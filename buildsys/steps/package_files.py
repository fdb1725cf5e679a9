"""Any model file -> the folder to ship it in: the file itself, labels and figures."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import SUFFIXES, BoardSpec, Format, ModelSpec
from buildsys.steps.lib.packages.contents import write_companions

TOOL_ENV = ""
CONSUMES = (Format.CHECKPOINT, Format.ONNX, Format.TFLITE)
PRODUCES = Format.PACKAGE
NEEDS = ("verdict", "metrics")


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
    for kind in CONSUMES:
        if kind in inputs:
            shutil.copyfile(inputs[kind], folder / f"{params.stem}{SUFFIXES[kind]}")
