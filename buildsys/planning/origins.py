"""From a step's parameter back to the line that says it."""

from collections.abc import Iterator, Mapping

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


Places = Mapping[str, tuple[str, int]]
"""File and line of each key that is written."""
_NOWHERE = ("", 0)


def find_origins(stage: str, block: str, params: object, places: Places) -> tuple[Origin, ...]:
    """Each parameter's name in the recipe language, and the file and line that set it.

    `params`: as JSON has them. Parameters that no line sets (defaults) keep their name and have no line.
    """
    origins = []
    for parameter in _parameters(params):
        label = _label(parameter, _BLOCKS.get(stage, block), places)
        path, line = places.get(label, _NOWHERE)
        origins.append(Origin(parameter=parameter, label=label, path=path, line=line))
    return tuple(origins)


def are_origins(origins: tuple[Origin, ...], stage: str, block: str, places: Places) -> bool:
    """Whether these are what `find_origins` finds for the same parameters."""
    block = _BLOCKS.get(stage, block)
    for origin in origins:
        label = _label(origin.parameter, block, places)
        found = places.get(label, _NOWHERE)
        if label != origin.label or found != (origin.path, origin.line):
            return False
    return True


def _label(parameter: str, block: str, places: Places) -> str:
    label = f"{block}.{parameter}" if block else parameter
    if label not in places:
        label = _ALIASES.get(label) or _ALIASES.get(parameter, label)
    return "input.size" if label == "train.size" and label not in places else label


def _parameters(value: object, prefix: str = "") -> Iterator[str]:
    """The keys of `digest.flatten`, sorted."""
    if not isinstance(value, dict):
        yield prefix
        return
    for key in sorted(value):
        yield from _parameters(value[key], f"{prefix}.{key}" if prefix else key)
