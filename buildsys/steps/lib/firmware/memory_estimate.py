"""How a network's memory goes with the size of its input: a law to guess by, never a proof."""

import math

from buildsys.spec import GRID


def estimate_size(size: int, need_bytes: float, has_bytes: float) -> int:
    """The side, in pixels, at which `has_bytes` would do, from one side whose need is known.

    Feature maps make up the arena, and they grow with the picture's area: the side goes with the
    root of the memory. Rounded down to a multiple of 32; 0 where not even 32 would do.
    """
    if need_bytes <= 0 or has_bytes <= 0:
        return 0
    return math.floor(size * math.sqrt(has_bytes / need_bytes)) // GRID * GRID


def interpolate_size(
    known: tuple[tuple[int, float], tuple[int, float]], has_bytes: float
) -> int | None:
    """The side by a straight line over the areas of two known sides (side, bytes); None where
    more pixels do not need more.
    """
    (low, less), (high, more) = sorted(known)
    if more <= less or high <= low:
        return None
    area = low**2 + (has_bytes - less) * (high**2 - low**2) / (more - less)
    return math.floor(math.sqrt(max(area, 0))) // GRID * GRID
