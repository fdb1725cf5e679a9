"""Finds the line of a recipe or target that sets a step's parameter."""

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
"""Makes an origin from parameter, label, path and line."""


def make_origin(parameter: str, label: str, path: str, line: int) -> Origin:
    """Return an origin; the usual `MakeOrigin`.

    With a cache around it, equal ones are one value.
    """
    return Origin(parameter=parameter, label=label, path=path, line=line)


def find_origins(
    stage: str, block: str, params: object, places: Places, make: MakeOrigin = make_origin
) -> tuple[Origin, ...]:
    """Return each parameter's name in the recipe language, and the file and line that set it.

    `params`: JSON values. Parameters that no line sets (defaults) keep their name and have no line.
    """
    block, origins = _BLOCKS.get(stage, block), list[Origin]()
    for parameter in _parameters(params):
        label, other = _labels(parameter, block)
        label = label if label in places else other
        origins.append(make(parameter, label, *places.get(label, _NOWHERE)))
    return tuple(origins)


def are_origins(origins: tuple[Origin, ...], stage: str, block: str, places: Places) -> bool:
    """Return whether these are what `find_origins` finds for the same parameters."""
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
    """Return a parameter's name where a line sets it, and where none does."""
    label = f"{block}.{parameter}" if block else parameter
    other = _ALIASES.get(label) or _ALIASES.get(parameter, label)
    return label, "input.size" if other == "train.size" else other


def _parameters(value: object, prefix: str = "") -> Iterator[str]:
    """Yield the keys of `digest.flatten`, sorted."""
    if not isinstance(value, dict):
        yield prefix
        return
    for key, item in sorted(value.items()):
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(item, dict):
            yield from _parameters(item, name)
        else:
            yield name
