"""Estimate how a network's memory depends on the size of its input."""

import math

from buildsys.spec import GRID


def estimate_size(size: int, need_bytes: float, has_bytes: float) -> int:
    """Return the input side in pixels for which `has_bytes` suffice, from one side whose need is
    known.

    Feature maps make up the arena and grow with the image's area: the side grows with the square
    root of the memory. Rounded down to a multiple of 32; 0 if not even 32 fits.
    """
    if need_bytes <= 0 or has_bytes <= 0:
        return 0
    return math.floor(size * math.sqrt(has_bytes / need_bytes)) // GRID * GRID


def interpolate_size(
    known: tuple[tuple[int, float], tuple[int, float]], has_bytes: float
) -> int | None:
    """Return the side by linear interpolation over the areas of two known sides (side, bytes); None
    if more pixels do not need more memory.
    """
    (low, less), (high, more) = sorted(known)
    if more <= less or high <= low:
        return None
    area = low**2 + (has_bytes - less) * (high**2 - low**2) / (more - less)
    return math.floor(math.sqrt(max(area, 0))) // GRID * GRID
