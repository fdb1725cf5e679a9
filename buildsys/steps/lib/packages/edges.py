"""Describe a TFLite file for model.json: inputs, outputs, operators, and how an image becomes its
input.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from buildsys.spec import Preprocessing
from buildsys.steps.lib.files.tflite import File
from buildsys.steps.lib.packages.contents import describe_preprocessing

_KEPT = "as in the ONNX file"
_ALWAYS = {"prototypes": "NHWC"}
"""Layouts of known outputs with four axes."""


def describe_file(
    file: File, names: tuple[str, ...], frame: Preprocessing | None, layouts: Path | None
) -> dict[str, Any]:
    """Return the description. `names`: names of the outputs in file order, if they differ from the
    file's own; `layouts`: file of the conversion (`saved_model.write_layouts`), None if nothing was
    converted.
    """
    outputs = [asdict(tensor) for tensor in file.outputs]
    found = name_layouts(file, layouts)
    if len(names) == len(outputs):
        outputs = [{**tensor, "name": name} for tensor, name in zip(outputs, names, strict=True)]
    return {
        "inputs": [asdict(tensor) for tensor in file.inputs],
        "outputs": [
            {**tensor, "layout": layout} if layout else tensor
            for tensor, layout in zip(outputs, found, strict=True)
        ],
        "operators": dict(file.operators),
        "preprocessing": describe_preprocessing(frame),
    }


def name_layouts(file: File, layouts: Path | None) -> tuple[str, ...]:
    """Return the axis order of each output with four axes, "NHWC" or that of the original ONNX
    file; "" for all others, and if unknown.
    """
    known = None if layouts is None else json.loads(layouts.read_text(encoding="utf-8"))
    maps = [tensor.name for tensor in file.outputs if len(tensor.shape) == 4]
    if known and len(known) == len(maps) == 1:
        known = dict.fromkeys(maps, next(iter(known.values())))  # compilers drop names
    found = []
    for tensor in file.outputs:
        layout = _ALWAYS.get(tensor.name, "")
        if known is not None:
            layout = known.get(tensor.name, layout or _KEPT)
        found.append(layout if len(tensor.shape) == 4 else "")
    return tuple(found)
