"""From a step's parameter back to the line that says it."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

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
MakeOrigin = Callable[[str, str, str, int], Origin]
"""Of parameter, label, path and line."""


def make_origin(parameter: str, label: str, path: str, line: int) -> Origin:
    """The usual `MakeOrigin`; with a cache around it, those that are equal are one value."""
    return Origin(parameter=parameter, label=label, path=path, line=line)


def find_origins(
    stage: str, block: str, params: object, places: Places, make: MakeOrigin = make_origin
) -> tuple[Origin, ...]:
    """Each parameter's name in the recipe language, and the file and line that set it.

    `params`: as JSON has them. Parameters that no line sets (defaults) keep their name and have no line.
    """
    block, origins = _BLOCKS.get(stage, block), list[Origin]()
    for parameter in _parameters(params):
        label, other = _labels(parameter, block)
        label = label if label in places else other
        origins.append(make(parameter, label, *places.get(label, _NOWHERE)))
    return tuple(origins)


def are_origins(origins: tuple[Origin, ...], stage: str, block: str, places: Places) -> bool:
    """Whether these are what `find_origins` finds for the same parameters."""
    block = _BLOCKS.get(stage, block)
    for origin in origins:
        label, other = _labels(origin.parameter, block)
        label = label if label in places else other
        path, line = places.get(label, _NOWHERE)
        if label != origin.label or line != origin.line or path != origin.path:
            return False
    return True


@cache
def _labels(parameter: str, block: str) -> tuple[str, str]:
    """What a parameter is called where a line says it, and where none does."""
    label = f"{block}.{parameter}" if block else parameter
    other = _ALIASES.get(label) or _ALIASES.get(parameter, label)
    return label, "input.size" if other == "train.size" else other


def _parameters(value: object, prefix: str = "") -> Iterator[str]:
    """The keys of `digest.flatten`, sorted."""
    if not isinstance(value, dict):
        yield prefix
        return
    for key, item in sorted(value.items()):
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(item, dict):
            yield from _parameters(item, name)
        else:
            yield name
