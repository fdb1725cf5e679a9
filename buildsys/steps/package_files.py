"""Package any model file: the file itself, labels and figures."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import SUFFIXES, BoardSpec, Format, ModelSpec, Preprocessing, StepSpec
from buildsys.steps.lib.packages.contents import write_companions, write_json

_KINDS = (Format.CHECKPOINT, Format.ONNX, Format.TFLITE)
STEP = StepSpec(
    consumes=_KINDS,
    produces=Format.PACKAGE,
    needs=("verdict", "metrics", "layouts"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name, the classes, and how an image becomes its input."""

    stem: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None = None


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the package is named after the recipe (and variant)."""
    return Params(stem=model.name, classes=model.classes, preprocessing=model.preprocessing)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package; model.json describes the inputs and outputs of a TFLite file."""
    import shutil

    from buildsys.steps.lib.files import tflite
    from buildsys.steps.lib.packages.edges import describe_file

    folder = outputs["package"]
    write_companions(folder, params.classes, inputs)
    for kind in _KINDS:
        if kind in inputs:
            shutil.copyfile(inputs[kind], folder / f"{params.stem}{SUFFIXES[kind]}")
    if Format.TFLITE in inputs:
        file = tflite.read(inputs[Format.TFLITE])
        described = describe_file(file, (), params.preprocessing, inputs.get("layouts"))
        write_json(folder / "model.json", described)
