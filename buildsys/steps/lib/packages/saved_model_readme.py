"""Write the README.md of a package with a SavedModel: how to run it, and what its outputs are."""

import json
from dataclasses import dataclass

from buildsys.escaping import code_span, markdown
from buildsys.spec import Preprocessing, TensorSpec


@dataclass(frozen=True, kw_only=True)
class Params:
    """The folder's name, the classes, and inputs and outputs; `outputs` empty: unknown."""

    stem: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    outputs: tuple[TensorSpec, ...]
    head: str
    converter: str


def describe(package: Params) -> str:
    """Return the whole text."""
    frame = package.preprocessing
    return f"""# {markdown(package.stem)}: a TensorFlow SavedModel

{code_span(f"{package.stem}_saved_model/")} was made from ONNX by {markdown(package.converter)} and compared with it on sample
images. In Python, with TensorFlow:

    import tensorflow as tf
    model = tf.saved_model.load({json.dumps(package.stem + "_saved_model")}).signatures["serving_default"]
    images = tf.zeros((1, {frame.height}, {frame.width}, 3))
    print(model(images=images))

`images` is one image, float32 in 0..1, {frame.color.upper()}, prepared as described in `preprocessing.json`.
{_outputs(package)}
`manifest.json` describes how every file was made.
"""


def _outputs(package: Params) -> str:
    """Return a table of the outputs, if their meaning is known."""
    labels = "`labels.txt` lists the classes in order. " if package.classes else ""
    if not package.outputs:
        return labels
    rows = [
        f"| {markdown(tensor.name)} | {' x '.join(map(str, tensor.shape))} |"
        for tensor in package.outputs
    ]
    table = "\n".join(("| Output | Shape |", "| --- | --- |", *rows))
    return f"{labels}Outputs, head {code_span(package.head)}, float32:\n\n{table}\n"
