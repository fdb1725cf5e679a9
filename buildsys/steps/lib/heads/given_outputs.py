"""Judge the outputs of a given file, which may be known only when a step opens it.

`check` reads the files that it can; a file with a `url` and open shapes are left to the steps.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from buildsys.steps.lib.heads.branches import layout
from buildsys.steps.lib.heads.formulas import find_strides
from buildsys.steps.lib.heads.output_names import Shape, alike, assign
from buildsys.steps.lib.heads.outputs import head_outputs

if TYPE_CHECKING:
    import numpy as np

Found = Sequence[tuple[str, Shape]]
"""Names and shapes of a file's outputs, in its order."""
PIXEL_KEYPOINTS = (
    "has keypoints in pixels and boxes as shares of the image, as Ultralytics exported them before"
    " 8.3.26; no decoder reads that"
)
PIXEL_KEYPOINTS_CURE = "give the .pt file or an ONNX file, or write `decoder: none`"
CLASSIFIED = (("probabilities",), ("logits",))
"""The outputs of the heads for classification."""
CONTRADICTION_CURE = "name its outputs as their shapes say"
_LARGEST_SHARE = 4.0
"""Half of the keypoints that are shares of the image are below it; in pixels, they are near half of
its side.
"""


def expect(
    found: Found, head: str, size: tuple[int, int], counts: tuple[int, int, int], task: str
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a head's outputs by name, with the strides of a file's cells.

    `size`: height and width; `counts`: classes, keypoints, values per keypoint.
    """
    sides = [side for _, shape in found for side in shape or () if side is not None]
    named = [name for name, _ in found if name.removeprefix("box_s").isdecimal()]
    strides = find_strides(sides, named, *size)
    return {each.name: each.shape for each in head_outputs(head, *size, *counts, task, strides)}


def find_problem(wanted: Mapping[str, tuple[int, ...]], found: Found, by_order: bool) -> str:
    """Return why a file's outputs are not those of the head; "" if they are.

    `by_order`: whether a step ignores the file's names.
    """
    names = assign(wanted, found)
    if names is not None:
        contradiction = find_contradiction(tuple(name for name, _ in found), names)
        return f"{contradiction}: {CONTRADICTION_CURE}" if contradiction else ""
    return "" if not by_order and has_own_names(wanted, found) else explain_others(wanted, found)


def find_order(
    wanted: Mapping[str, tuple[int, ...]], found: Found, order: tuple[str, ...], by_order: bool
) -> tuple[str, ...]:
    """Return the head's names in the order of a file if steps would take one output for another; ()
    if they do not.

    `order`: the names that steps give to a file's outputs by position, if its names are not the
    head's; `by_order`: whether a step does so for every file.
    """
    names = assign(wanted, found)
    is_right = names == order or (not by_order and has_own_names(wanted, found))
    return () if is_right or names is None else names


def has_own_names(wanted: Mapping[str, tuple[int, ...]], found: Found) -> bool:
    """Return whether a file has every output of the head under its name, and maybe others."""
    shapes = dict(found)
    return all(name in shapes and alike(shape, shapes[name]) for name, shape in wanted.items())


def explain_others(wanted: Mapping[str, tuple[int, ...]], found: Found) -> str:
    """Return the sentence about a file whose outputs are not the head's."""
    expected = ", ".join(f"{name} {list(shape)}" for name, shape in wanted.items())
    present = ", ".join(f"{name} {_text(shape)}" for name, shape in found)
    return (
        f"has {present}; the recipe's `decoder` and `classes` need {expected}: list every class of"
        " the file in `classes`, in its order, write its `decoder`, or `decoder: none`"
    )


def find_contradiction(own: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return the sentence about a file whose names are the head's, at outputs of other shapes.

    `own`: the file's names; `names`: those that its shapes say.
    """
    if own == names or set(own) != set(names):
        return ""
    name, other = next(pair for pair in zip(own, names, strict=True) if pair[0] != pair[1])
    return f"has an output {name} with the shape of {other}"


def has_pixel_keypoints(
    outputs: "Mapping[str, np.ndarray]", head: str, classes: int, dims: int
) -> bool:
    """Return whether keypoints are in pixels in a head that has shares of the image.

    `outputs`: arrays by the head's names; `dims`: values per keypoint, 0 without any.
    """
    import numpy as np

    if layout(head) != "normalized" or not dims:
        return False
    points = outputs["detections"][0][4 + classes :].astype(np.float64)
    places = np.abs(points.reshape(-1, dims, points.shape[-1])[:, :2])
    return bool(places.size and np.median(places) > _LARGEST_SHARE)


def _text(shape: Shape) -> str:
    return "[?]" if shape is None else str([side or "?" for side in shape]).replace("'", "")
