"""model.json of a TFLite file: tensors at its edges, operators, how a photograph becomes its input."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from buildsys.spec import Preprocessing
from buildsys.steps.lib.files.tflite import File
from buildsys.steps.lib.packages.contents import describe_preprocessing

_KEPT = "as in the ONNX file"
_ALWAYS = {"prototypes": "NHWC"}
"""Outputs of heads that are known, which have four axes."""


def describe_file(
    file: File, names: tuple[str, ...], frame: Preprocessing | None, layouts: Path | None
) -> dict[str, Any]:
    """`names`: of the outputs in file order, where the file's own are others; `layouts`: what the
    conversion found (`saved_model.write_layouts`), None where nothing was converted.
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
    """Of each output the order of its axes where there are four, "NHWC" or as in the ONNX file it
    came from; empty for all others, and where nobody knows.
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
