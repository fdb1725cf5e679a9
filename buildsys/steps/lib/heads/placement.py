"""Where a photograph lies in a network's picture, and the way back into its pixels.

Each axis has a gain of its own, because sizes are rounded to whole pixels: at 96 px up to a half of
a hundredth. What lies outside the photograph is brought to its border. Source: Ultralytics
`scale_boxes`, `scale_coords`, `clip_boxes` (utils/ops.py).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A photograph of `height` x `width` pixels in a network's picture.

    `gain_x`, `gain_y`: pixels of the picture a pixel of the photograph; `left`, `top`: the
    photograph's corner in the picture's pixels, below zero where it was cut.
    """

    height: int
    width: int
    gain_x: float
    gain_y: float
    left: int
    top: int


def to_photo(places: "np.ndarray", place: Placement) -> "np.ndarray":
    """Places x, y, x, y, … (last axis) of the picture in the photograph's pixels, inside of it."""
    import numpy as np

    pairs = places.shape[-1] // 2
    limits = np.tile(np.array((place.width, place.height), np.float64), pairs)
    return np.asarray(np.clip(_unplaced(places, place), 0, limits))


def turned_to_photo(boxes: "np.ndarray", place: Placement) -> "np.ndarray":
    """Turned boxes [n, 5] x y w h angle, likewise; they may stand over the photograph's border.

    The sides are scaled as if the box lay upright, as Ultralytics does it.
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
