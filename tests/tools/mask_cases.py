"""Compares the masks of a segment network with those drawn pixel by pixel over the whole image.

`main`, in the environment `evaluate` with the variables of a step, prints JSON: the number of compared
masks, and for each difference its case.
"""

import json
import warnings
from typing import Any

from buildsys.spec import MASK_STRIDE
from buildsys.steps.lib.heads import instance_masks
from buildsys.steps.lib.heads.placement import Placement
from buildsys.steps.lib.runtime import pinned_arithmetic

SIZES = ((97, 131), (64, 64), (128, 128), (32, 32), (480, 640), (1, 200), (301, 1), (1200, 900))
"""Heights and widths of photos: larger, smaller, half and as large as the network's 64 pixels."""
SIDE, CELLS = 64, 16


def whole(coefficients: Any, prototypes: Any, box: Any, place: Placement) -> Any:
    """The mask, bool [height, width], by scaling the logits of the whole image."""
    import cv2
    import numpy as np

    plane = np.ascontiguousarray(prototypes.reshape(-1, prototypes.shape[2]).T, np.float32)
    logits = (coefficients @ plane).reshape(prototypes.shape[:2])
    size = (prototypes.shape[1] * MASK_STRIDE, prototypes.shape[0] * MASK_STRIDE)
    logits = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)
    bottom = place.top + round(place.height * place.gain_y)
    right = place.left + round(place.width * place.gain_x)
    logits = logits[place.top : bottom, place.left : right]
    if logits.shape != (place.height, place.width):
        size = (place.width, place.height)
        logits = cv2.resize(logits, size, interpolation=cv2.INTER_LINEAR)
    x, y = np.arange(place.width), np.arange(place.height)
    across, down = (x >= box[0]) & (x < box[2]), (y >= box[1]) & (y < box[3])
    return (logits > 0) & down[:, None] & across[None, :]


def paint(mask: instance_masks.Mask) -> Any:
    """The mask of the whole image, bool [height, width]."""
    import numpy as np

    found = np.zeros((mask.height, mask.width), bool)
    rows, columns = mask.inside.shape
    found[mask.top : mask.top + rows, mask.left : mask.left + columns] = mask.inside
    return found


def put_in(height: int, width: int) -> Placement:
    """A photo in the network's frame, as letterboxing puts it there."""
    scale = min(SIDE / height, SIDE / width)
    rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
    return Placement(
        height=height,
        width=width,
        gain_x=columns / width,
        gain_y=rows / height,
        left=round((SIDE - columns) / 2 - 0.1),
        top=round((SIDE - rows) / 2 - 0.1),
    )


def boxes_of(height: int, width: int, seed: int) -> Any:
    """Boxes of a photo: all of it, its columns, its rows, none, one unknown, and random ones."""
    import numpy as np

    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.random((2, 6, 2)), 0) * (width, height)
    some = np.concatenate([low, high], 1)
    fixed = [
        (0, 0, width, height),
        (width / 3, 0, width / 2, height),
        (0, height / 3, width, height / 2),
        (width / 2, height / 2, width / 2, height / 2),
        (0, 0, np.nan, height),
    ]
    return np.concatenate([np.array(fixed, np.float64), some])


def compare(height: int, width: int, seed: int) -> tuple[int, list[str]]:
    """Compare every mask of a photo: its pixels, its run lengths in COCO's form, its outline."""
    import numpy as np
    from pycocotools import mask as coco_mask

    rng, place = np.random.default_rng(seed), put_in(height, width)
    prototypes = rng.normal(0, 1, (CELLS, CELLS, 32)).astype(np.float32)
    boxes = boxes_of(height, width, seed)
    rows = rng.normal(0, 1, (len(boxes), 32)).astype(np.float32)
    faults = []
    found = list(instance_masks.draw_masks(rows, prototypes, boxes, place))
    for number, (row, box, mask) in enumerate(zip(rows, boxes, found, strict=True)):
        wanted, case = whole(row, prototypes, box, place), f"{height} x {width}, box {number}"
        with warnings.catch_warnings():  # pycocotools is older than this numpy
            warnings.simplefilter("ignore", DeprecationWarning)
            runs = coco_mask.encode(np.asfortranarray(wanted, np.uint8))
            if instance_masks.encode(mask) != runs:
                faults.append(f"{case}: run lengths")
            if not np.array_equal(coco_mask.decode(instance_masks.encode(mask)), wanted):
                faults.append(f"{case}: pixels")
        everything = instance_masks.Mask(inside=wanted, left=0, top=0, height=height, width=width)
        if not np.array_equal(paint(mask), wanted):
            faults.append(f"{case}: painted pixels")
        if instance_masks.find_outline(mask) != instance_masks.find_outline(everything):
            faults.append(f"{case}: outline")
    return len(boxes), faults


def main() -> None:
    """Compare the masks of all photos, with the kernels of a step."""
    pinned_arithmetic.pin()
    compared, faults = 0, []
    for height, width in SIZES:
        for seed in range(3):
            count, found = compare(height, width, seed)
            compared += count
            faults += found
    print(json.dumps({"compared": compared, "faults": faults}))
