"""Package a model file for a microcontroller: model, labels, figures, description, flash plan."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, StepSpec
from buildsys.steps.bind_outputs import bound_order
from buildsys.steps.lib.packages.contents import write_companions, write_json
from buildsys.steps.lib.packages.edges import describe_file
from buildsys.steps.lib.packages.flash import FlashParams, plan_flash
from buildsys.steps.lib.packages.flash_files import write_plan

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.VELA, Format.TFLITE),
    produces=Format.PACKAGE,
    needs=("verdict", "metrics", "summary", "calibration", "layouts"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name, its classes, and how an image becomes its input."""

    stem: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing | None
    outputs: tuple[str, ...]
    """Names of the outputs in file order, if bind_outputs set the order; Vela drops the signature.
    """
    flash: FlashParams | None


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the package is named after the recipe (and variant)."""
    return Params(
        stem=model.name,
        classes=model.classes,
        preprocessing=model.preprocessing,
        outputs=bound_order(board),
        flash=plan_flash(model, board),
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package."""
    import shutil

    from buildsys.steps.lib.files import tflite

    source = inputs.get("vela-tflite") or inputs["tflite"]
    suffix = "_vela.tflite" if "vela-tflite" in inputs else ".tflite"
    file = tflite.read(source)
    folder = outputs["package"]
    write_companions(folder, params.classes, inputs)
    shutil.copyfile(source, folder / f"{params.stem}{suffix}")
    described = describe_file(file, params.outputs, params.preprocessing, inputs.get("layouts"))
    write_json(folder / "model.json", described)
    if params.flash is not None:
        write_plan(folder, f"{params.stem}{suffix}", params.flash)
    if "summary" in inputs:
        shutil.copyfile(inputs["summary"], folder / "vela.json")
    if "calibration" in inputs:
        shutil.copyfile(inputs["calibration"] / "sources.json", folder / "calibration.json")
