"""Convert boxes in pixels to shares of their image, and describe how far they exceed it."""

from typing import Any

TOLERANCE = 1.0
"""Pixels beyond an edge that are clipped without a finding, because tools round boxes to whole
pixels.
"""
_LONGEST = 80

Size = tuple[int, int]
"""Width and height in pixels."""


def share_box(
    corners: tuple[float, float, float, float], size: Size
) -> tuple[float, float, float, float] | None:
    """Return centre and size as shares of the image, clipped to it; None if nothing is left.

    `corners`: left, upper, right, lower in pixels.
    """
    width, height = size
    left, right = inside(corners[0], width), inside(corners[2], width)
    upper, lower = inside(corners[1], height), inside(corners[3], height)
    if left >= right or upper >= lower:
        return None
    return (
        (left + right) / 2 / width,
        (upper + lower) / 2 / height,
        (right - left) / width,
        (lower - upper) / height,
    )


def beyond(low: tuple[float, float], high: tuple[float, float], size: Size, name: str) -> str:
    """Return a sentence on how far something exceeds the image `name`; "" within the tolerance."""
    sides = (
        ("left", -low[0]),
        ("right", high[0] - size[0]),
        ("upper", -low[1]),
        ("lower", high[1] - size[1]),
    )
    edge, far = max(sides, key=lambda side: side[1])
    text = f"{far:.1f} px beyond the {edge} edge of {show(name)}, which is {size[0]}x{size[1]}"
    return text if far > TOLERANCE else ""


def inside(value: float, side: int) -> float:
    """Return the nearest coordinate inside the image."""
    return min(max(value, 0.0), float(side))


def show(value: Any) -> str:
    """Return a value in the form of messages."""
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST else f"{value[:50]}…{value[-25:]}"
        return f'"{cut}"'
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)[:_LONGEST]
