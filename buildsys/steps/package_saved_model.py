"""Package a SavedModel: the SavedModel unchanged, labels, preprocessing, README."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, StepSpec
from buildsys.steps.lib.packages.contents import (
    describe_preprocessing,
    write_companions,
    write_json,
)
from buildsys.steps.lib.packages.saved_model_readme import Params, describe

STEP = StepSpec(
    consumes=(Format.SAVED_MODEL,),
    produces=Format.PACKAGE,
    needs=("verdict", "metrics"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the package is named after the recipe (and variant)."""
    assert model.preprocessing is not None
    return Params(
        stem=model.name,
        classes=model.classes,
        preprocessing=model.preprocessing,
        outputs=model.outputs,
        head=model.head,
        converter=model.converter,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package."""
    import shutil

    folder = outputs["package"]
    write_companions(folder, params.classes, inputs)
    write_json(folder / "preprocessing.json", describe_preprocessing(params.preprocessing))
    shutil.copytree(inputs["saved-model"], folder / f"{params.stem}_saved_model")
    (folder / "README.md").write_text(describe(params), encoding="utf-8")
