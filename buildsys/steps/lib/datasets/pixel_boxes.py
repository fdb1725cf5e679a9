"""Convert boxes in pixels to shares of their image, and show values of annotation files."""

from typing import Any

_LONGEST = 80

Size = tuple[int, int]
"""Width and height in pixels."""


def share_box(
    corners: tuple[float, float, float, float], size: Size
) -> tuple[float, float, float, float]:
    """Return centre and size as shares of the image.

    `corners`: left, upper, right, lower in pixels.
    """
    (left, upper, right, lower), (width, height) = corners, size
    return (
        (left + right) / 2 / width,
        (upper + lower) / 2 / height,
        (right - left) / width,
        (lower - upper) / height,
    )


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
