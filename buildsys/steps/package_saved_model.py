"""Package a SavedModel: the SavedModel unchanged, labels, preprocessing, README."""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.escaping import code_span, markdown
from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, StepSpec, TensorSpec
from buildsys.steps.lib.packages.contents import (
    describe_preprocessing,
    write_companions,
    write_json,
)

STEP = StepSpec(
    consumes=(Format.SAVED_MODEL,),
    produces=Format.PACKAGE,
    needs=("verdict", "metrics"),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The folder's name, the classes, and inputs and outputs; `outputs` empty: unknown."""

    stem: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    outputs: tuple[TensorSpec, ...]
    head: str
    converter: str


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
    (folder / "README.md").write_text(_describe(params), encoding="utf-8")


def _describe(params: Params) -> str:
    frame = params.preprocessing
    return f"""# {markdown(params.stem)}: a TensorFlow SavedModel

{code_span(f"{params.stem}_saved_model/")} was made from ONNX by {markdown(params.converter)} and compared with it on sample
images. In Python, with TensorFlow:

    import tensorflow as tf
    model = tf.saved_model.load({json.dumps(params.stem + "_saved_model")}).signatures["serving_default"]
    images = tf.zeros((1, {frame.height}, {frame.width}, 3))
    print(model(images=images))

`images` is one image, float32 in 0..1, {frame.color.upper()}, prepared as described in `preprocessing.json`.
{_describe_outputs(params)}
`manifest.json` describes how every file was made.
"""


def _describe_outputs(params: Params) -> str:
    """Return a table of the outputs, if their meaning is known."""
    labels = "`labels.txt` lists the classes in order. " if params.classes else ""
    if not params.outputs:
        return labels
    rows = [
        f"| {markdown(tensor.name)} | {' x '.join(map(str, tensor.shape))} |"
        for tensor in params.outputs
    ]
    table = "\n".join(("| Output | Shape |", "| --- | --- |", *rows))
    return f"{labels}Outputs, head {code_span(params.head)}, float32:\n\n{table}\n"
