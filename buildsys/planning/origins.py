"""From a step's parameter back to the line that says it."""

import json
from collections.abc import Mapping

from buildsys.digest import flatten
from buildsys.graph import Origin

_BLOCKS = {"calibration": "quantization.calibration", "gate": "evaluate.gates"}
_ALIASES = {
    "architecture": "source.architecture",
    "task": "source.task",
    "head": "export.head",
    "preprocessing.height": "input.size",
    "preprocessing.width": "input.size",
    "preprocessing.color": "input.color",
    "preprocessing.resize": "input.resize",
    "quantization.scheme": "quantization.scheme",
    "quantization.granularity": "quantization.granularity",
    "quantization.io": "quantization.io",
    "split.name": "evaluate.split",
    "thresholds": "evaluate.gates",
    "firmware": "firmware",
    "tensorrt.batch": "export.batch",
}


def find_origins(
    stage: str, block: str, params: str, places: Mapping[str, tuple[str, int]]
) -> tuple[Origin, ...]:
    """Each parameter's name in the recipe language, and the file and line that set it.

    `places`: file and line of each key that is written. Parameters that no line sets (defaults) keep
    their name and have no line.
    """
    block = _BLOCKS.get(stage, block)
    origins = []
    for parameter in flatten(json.loads(params)):
        label = f"{block}.{parameter}" if block else parameter
        if label not in places:
            label = _ALIASES.get(label) or _ALIASES.get(parameter, label)
        if label == "train.size" and label not in places:
            label = "input.size"
        path, line = places.get(label, ("", 0))
        origins.append(Origin(parameter=parameter, label=label, path=path, line=line))
    return tuple(origins)
