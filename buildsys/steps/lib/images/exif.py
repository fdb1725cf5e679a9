"""Read the orientation in EXIF data (TIFF 6.0) and in XMP.

OpenCV decodes every image: it applies the first EXIF data of a file, and nothing else. Pillow, with
which Ultralytics reads sizes, also applies XMP where EXIF data state no orientation.
"""

import re
from collections.abc import Sequence
from typing import Literal

UPRIGHT = 1
SIDES_EXCHANGED = (5, 6, 7, 8)
"""Orientations in which the image is shown with its width as its height."""
_ORIENTATION = 0x0112
_SHORT = 3
_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}
_KNOWN = range(1, 9)
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
"""As in Pillow (`Image.getexif`)."""


def is_upright(exifs: Sequence[bytes], xmps: Sequence[bytes]) -> bool:
    """Return whether every decoder shows an image with these metadata as it is stored."""
    if any(read_orientation(exif) != UPRIGHT for exif in exifs):
        return False
    if any(_find_entry(exif) for exif in exifs):
        return True
    stated = (_XMP_ORIENTATION.search(xmp) for xmp in xmps)
    return all(found is None or int(found[1]) == UPRIGHT for found in stated)


def read_orientation(exif: bytes) -> int | None:
    """Return the orientation, 1 to 8, that EXIF data state, `UPRIGHT` if none; None if malformed.

    The data start with their byte order, as a TIFF file does.
    """
    order = _ORDERS.get(exif[:2])
    if order is None:
        return None
    entry = _find_entry(exif)
    if not entry:
        return UPRIGHT
    kind = int.from_bytes(entry[2:4], order)
    value = int.from_bytes(entry[8:10], order) or UPRIGHT
    return value if kind == _SHORT and value in _KNOWN else None


def _find_entry(exif: bytes) -> bytes:
    """Return the entry with the orientation; empty if there is none."""
    order = _ORDERS.get(exif[:2], "little")
    start = int.from_bytes(exif[4:8], order)
    for index in range(int.from_bytes(exif[start : start + 2], order)):
        entry = exif[start + 2 + 12 * index : start + 14 + 12 * index]
        if int.from_bytes(entry[:2], order) == _ORIENTATION:
            return entry
    return b""
