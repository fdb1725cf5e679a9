"""Compute the masks of a segment network from coefficients and prototypes.

A mask's logit at a position is the product of the object's 32 coefficients and the prototypes
there; the inside is above 0. Logits are scaled to the original image's size before they are
thresholded, and then cropped to the box. Source: Ultralytics `process_mask_native` and
`scale_masks` (utils/ops.py).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from buildsys.spec import MASK_CHANNELS, MASK_STRIDE
from buildsys.steps.lib.heads.branches import is_raw
from buildsys.steps.lib.heads.placement import Placement

if TYPE_CHECKING:
    import numpy as np


def decode_coefficients(outputs: "dict[str, np.ndarray]", head: str, classes: int) -> "np.ndarray":
    """Return the mask coefficients [N, 32] of every cell, from the raw or the decoded head."""
    import numpy as np

    if is_raw(head):
        return np.asarray(outputs["mask_coefficients"][0])
    rows = outputs["detections"][0].T
    return np.asarray(rows[:, 4 + classes : 4 + classes + MASK_CHANNELS])


def draw_masks(
    coefficients: "np.ndarray", prototypes: "np.ndarray", boxes: "np.ndarray", place: Placement
) -> "Iterator[np.ndarray]":
    """Yield one mask per object, bool [height, width] of the original image.

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
    for row, box in zip(coefficients.astype(np.float32), boxes, strict=True):
        logits = (row @ plane).reshape(high, wide)
        # half-pixel centres and no smoothing: bilinear without align_corners in torch
        size = (wide * MASK_STRIDE, high * MASK_STRIDE)
        logits = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)[top:bottom, left:right]
        if logits.shape != (place.height, place.width):
            size = (place.width, place.height)
            logits = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)
        yield _crop(logits > 0, box)


def _crop(mask: "np.ndarray", box: "np.ndarray") -> "np.ndarray":
    """Return the mask inside the box: pixels x with x1 <= x < x2, and rows likewise."""
    import numpy as np

    x, y = np.arange(mask.shape[1]), np.arange(mask.shape[0])
    across = (x >= box[0]) & (x < box[2])
    down = (y >= box[1]) & (y < box[3])
    return np.asarray(mask & down[:, None] & across[None, :])


def encode(mask: "np.ndarray") -> dict[str, Any]:
    """Return a mask's run lengths in COCO's form."""
    import numpy as np
    from pycocotools import mask as coco_mask

    found: dict[str, Any] = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return found


def find_outline(mask: "np.ndarray") -> tuple[tuple[float, float], ...]:
    """Return the outline of a mask's largest part, exact to a pixel; empty for an empty mask."""
    import cv2
    import numpy as np

    pieces, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not pieces:
        return ()
    largest = cv2.approxPolyDP(max(pieces, key=cv2.contourArea), 1.0, True)
    return tuple((float(x), float(y)) for x, y in largest[:, 0])
