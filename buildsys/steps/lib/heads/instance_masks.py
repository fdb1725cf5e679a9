"""Compute the masks of a segment network from coefficients and prototypes.

A mask's logit at a position is the product of the object's 32 coefficients and the prototypes
there; the inside is above 0. Logits are scaled to the original image's size before they are
thresholded, and then cropped to the box. Source: Ultralytics `process_mask_native` and
`scale_masks` (utils/ops.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildsys.spec import MASK_CHANNELS, MASK_STRIDE
from buildsys.steps.lib.heads.branches import is_raw
from buildsys.steps.lib.heads.placement import Placement

if TYPE_CHECKING:
    import numpy as np

_ROWS = 256
"""Rows of a mask that are scaled at once, to bound the memory for a mask of the whole image."""


def decode_coefficients(outputs: "dict[str, np.ndarray]", head: str, classes: int) -> "np.ndarray":
    """Return the mask coefficients [N, 32] of every cell, from the raw or the decoded head."""
    import numpy as np

    if is_raw(head):
        return np.asarray(outputs["mask_coefficients"][0])
    rows = outputs["detections"][0].T
    return np.asarray(rows[:, 4 + classes : 4 + classes + MASK_CHANNELS])


@dataclass(frozen=True, kw_only=True)
class Mask:
    """An object's mask on an image of `height` x `width` pixels: `inside`, bool [h, w], with its
    first pixel at column `left` and row `top`. All other pixels are outside the object.
    """

    inside: "np.ndarray"
    left: int
    top: int
    height: int
    width: int


def draw_masks(
    coefficients: "np.ndarray", prototypes: "np.ndarray", boxes: "np.ndarray", place: Placement
) -> "Iterator[Mask]":
    """Yield one mask per object, of the pixels in its box: x with x1 <= x < x2, and rows likewise.

    `coefficients` [n, 32]; `prototypes` [h, w, 32]; `boxes` [n, 4] x1 y1 x2 y2 in the original
    image.
    """
    import cv2
    import numpy as np

    high, wide, channels = prototypes.shape
    plane = np.ascontiguousarray(prototypes.reshape(-1, channels).T, np.float32)
    left, top = place.left, place.top
    right = left + round(place.width * place.gain_x)
    bottom = top + round(place.height * place.gain_y)
    size = (wide * MASK_STRIDE, high * MASK_STRIDE)
    for row, (x1, y1, x2, y2) in zip(coefficients.astype(np.float32), boxes, strict=True):
        logits = (row @ plane).reshape(high, wide)
        # half-pixel centres and no smoothing: bilinear without align_corners in torch
        logits = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)[top:bottom, left:right]
        rows, columns = _between(y1, y2, place.height), _between(x1, x2, place.width)
        yield Mask(
            inside=_positive(logits, rows, columns, place),
            left=int(columns[0]) if len(columns) else 0,
            top=int(rows[0]) if len(rows) else 0,
            height=place.height,
            width=place.width,
        )


def _between(low: float, high: float, size: int) -> "np.ndarray":
    """Return the pixels 0..size - 1 from `low` up to, but not including, `high`."""
    import numpy as np

    every = np.arange(size)
    return np.flatnonzero((every >= low) & (every < high))


def _positive(
    logits: "np.ndarray", rows: "np.ndarray", columns: "np.ndarray", place: Placement
) -> "np.ndarray":
    """Return where logits, scaled to the size of the original image, are above 0: bool, at those
    rows and columns alone.

    The signs are those of `cv2.resize` with INTER_LINEAR, without its optimized kernels, for the
    whole image, which takes 0.2 s per object of a photo with 12 megapixels: float32 in the same
    order (`HResizeLinear`, `VResizeLinear` in modules/imgproc/src/resize.cpp).
    """
    import numpy as np

    inside = np.zeros((len(rows), len(columns)), bool)
    if not inside.size:
        return inside
    if logits.shape == (place.height, place.width):
        return np.asarray(logits[np.ix_(rows, columns)] > 0)
    above, below, down = _neighbours(rows, logits.shape[0], place.height)
    before, behind, along = _neighbours(columns, logits.shape[1], place.width)
    first = above[0]
    needed = logits[first : below[-1] + 1]
    lines = _mix(needed[:, before], needed[:, behind], along)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        upper, lower = lines[above[part] - first], lines[below[part] - first]
        inside[part] = _mix(upper, lower, down[part, None]) > 0
    return inside


def _neighbours(
    wanted: "np.ndarray", size: int, new_size: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return for pixels of an axis that is scaled to `new_size` the two neighbouring old ones, and
    the share of the second, as OpenCV computes them.
    """
    import numpy as np

    places = ((wanted + 0.5) * (1 / (new_size / size)) - 0.5).astype(np.float32)
    places = np.clip(places, 0, size - 1)
    first = np.floor(places).astype(int)
    return first, np.minimum(first + 1, size - 1), places - first.astype(np.float32)


def _mix(first: "np.ndarray", second: "np.ndarray", share: "np.ndarray") -> "np.ndarray":
    return first * (1 - share) + second * share


def encode(mask: Mask) -> dict[str, Any]:
    """Return a mask's run lengths in COCO's form."""
    from pycocotools import mask as coco_mask

    size = [mask.height, mask.width]
    runs = {"size": size, "counts": run_lengths(mask)}
    found: dict[str, Any] = coco_mask.frPyObjects(runs, *size)
    return found


def run_lengths(mask: Mask) -> list[int]:
    """Return the numbers of pixels outside, inside, outside, … of the whole image, column by
    column.
    """
    import numpy as np

    columns = mask.inside.T
    if columns.shape[1] == mask.height:
        columns = columns.reshape(1, -1)  # runs go on from the end of a column into the next
    edges = np.diff(np.pad(columns, ((0, 0), (1, 1))).astype(np.int8))
    column, row = np.nonzero(edges)
    whole = mask.height * mask.width
    changes = (mask.left + column) * mask.height + mask.top + row
    runs: list[int] = np.diff(np.concatenate([[0], changes, [whole]])).tolist()
    return runs if runs[-1] else runs[:-1]


def find_outline(mask: Mask) -> tuple[tuple[float, float], ...]:
    """Return the outline of a mask's largest part, exact to a pixel; empty for an empty mask."""
    import cv2
    import numpy as np

    inside, offset = mask.inside.astype(np.uint8), (mask.left, mask.top)
    if not inside.any():
        return ()
    pieces, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=offset)
    largest = cv2.approxPolyDP(max(pieces, key=cv2.contourArea), 1.0, True)
    return tuple((float(x), float(y)) for x, y in largest[:, 0])
