"""Finds the line of a recipe or target that sets a step's parameter."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from buildsys.graph import Origin

_BLOCKS = {
    "calibration": "quantization.calibration",
    "gate": "evaluate.gates",
    "samples": "samples",  # no block of a recipe: its number of images is fixed
}
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
    "quantization.calibration.split.name": "quantization.calibration.split",
    "samples.split.name": "quantization.calibration.split",
    "split.name": "evaluate.split",
    "thresholds": "evaluate.gates",
    "firmware": "firmware",
    "tensorrt.batch": "export.batch",
}
_INSTEAD = {"quantization.calibration.split": "quantization.calibration.images"}
"""Keys by the key that is written instead of them."""
_WRAPPERS = ("reading.", "check.", "network.", "tensorrt.network.", "flash.")
"""Blocks of parameters that steps have in common; a parameter in them is named as without them."""
_OF_DATA = {
    "classes": "the dataset's classes",
    "keypoints": "the dataset's number of keypoints",
    "keypoint_dims": "the dataset's values for each keypoint",
    "sigmas": "the dataset's sigmas of keypoints",
    "flip": "the dataset's keypoints in mirror images",
    "shape": "the kind of the dataset's labels",
    "splits": "the dataset's folders",
    "with_keypoints": "whether the dataset's labels have keypoints",
    "paths": "the dataset's folders",
}
"""Words for what no line of a recipe sets: it comes from the dataset."""
_OF_NETWORK = {
    "classes": "the network's classes",
    "keypoints": "the network's number of keypoints",
    "keypoint_dims": "the network's values for each keypoint",
    "sigmas": "the sigmas of keypoints",
    "output_names": "the names of the network's outputs",
    "outputs": "the network's outputs",
    "paths": "the dataset's folders",
}
"""Words for what no line of a recipe sets: it comes from the network, or from its dataset."""
_OF_TARGET = {
    "contract.": "the firmware's contract",
    "slot.": "the firmware's place for the file",
    "library.": "the TensorRT library",
}
"""Words for blocks that a target or its firmware defines."""
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
        label = _name(parameter, block, places)
        origins.append(make(parameter, label, *places.get(label, _NOWHERE)))
    return tuple(origins)


def are_origins(origins: tuple[Origin, ...], stage: str, block: str, places: Places) -> bool:
    """Return whether these are what `find_origins` finds for the same parameters."""
    block = _BLOCKS.get(stage, block)
    for origin in origins:
        label = _name(origin.parameter, block, places)
        path, line = places.get(label, _NOWHERE)
        if label != origin.label or line != origin.line or path != origin.path:
            return False
    return True


def _name(parameter: str, block: str, places: Places) -> str:
    """Return a parameter's name: the key of the line that sets it, otherwise in words if there are
    any.
    """
    label, other, words = _labels(parameter, block)
    if label in places:
        return label
    if other not in places:
        other = _INSTEAD.get(other, other)
    return words if words and other not in places else other


@cache
def _labels(parameter: str, block: str) -> tuple[str, str, str]:
    """Return a parameter's names: where a line sets it, another key that sets it, and words."""
    label = f"{block}.{parameter}" if block else parameter
    bare = next((parameter[len(w) :] for w in _WRAPPERS if parameter.startswith(w)), parameter)
    other = _ALIASES.get(label) or _ALIASES.get(bare, label)
    return label, "input.size" if other == "train.size" else other, _words(bare, block)


def _words(parameter: str, block: str) -> str:
    """Return words for a parameter that comes from data, network or target; empty for others."""
    for start, words in _OF_TARGET.items():
        if parameter.startswith(start):
            return f"{parameter.removeprefix(start).replace('_', ' ')} of {words}"
    known = _OF_DATA if block.partition(".")[0] == "dataset" else _OF_NETWORK
    return known.get(parameter.rpartition(".")[2], "")


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
