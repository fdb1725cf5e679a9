"""The placement of an original image in a network's input, and the conversion back to its pixels.

Each axis has its own scale, because sizes are rounded to whole pixels: they differ by up to 0.5 %
at 96 px. Positions outside the original are moved to its border. Source: Ultralytics `scale_boxes`,
`scale_coords`, `clip_boxes` (utils/ops.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Placement:
    """An original image of `height` x `width` pixels in a network's input.

    `gain_x`, `gain_y`: input pixels per original pixel; `left`, `top`: the original's corner in
    input pixels, negative if it was cropped.
    """

    height: int
    width: int
    gain_x: float
    gain_y: float
    left: int
    top: int


def to_photo(places: "np.ndarray", place: Placement) -> "np.ndarray":
    """Convert input positions x, y, x, y, … (last axis) to pixels of the original, clipped to it."""
    import numpy as np

    pairs = places.shape[-1] // 2
    limits = np.tile(np.array((place.width, place.height), np.float64), pairs)
    return np.asarray(np.clip(_unplaced(places, place), 0, limits))


def turned_to_photo(boxes: "np.ndarray", place: Placement) -> "np.ndarray":
    """Convert oriented boxes [n, 5] x y w h angle; they may exceed the original's border. The sides
    are scaled as if the box were axis-aligned, as in Ultralytics.
    """
    import numpy as np

    centres = _unplaced(boxes[:, :2], place)
    sizes = boxes[:, 2:4] / np.array((place.gain_x, place.gain_y))
    return np.concatenate([centres, sizes, boxes[:, 4:]], 1)


def _unplaced(places: "np.ndarray", place: Placement) -> "np.ndarray":
    import numpy as np

    pairs = places.shape[-1] // 2
    shift = np.tile(np.array((place.left, place.top), np.float64), pairs)
    return np.asarray((places - shift) / np.tile(np.array((place.gain_x, place.gain_y)), pairs))
