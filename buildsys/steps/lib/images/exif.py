"""Read the orientation in EXIF data (TIFF 6.0)."""

UPRIGHT = 1
SIDES_EXCHANGED = (5, 6, 7, 8)
"""Orientations in which the image is shown with its width as its height."""
_ORIENTATION = 0x0112
_SHORT = 3
_KNOWN = range(1, 9)


def read_orientation(exif: bytes) -> int | None:
    """Return the orientation, 1 to 8, that EXIF data state, `UPRIGHT` if none; None if malformed.

    The data start with their byte order, as a TIFF file does.
    """
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return None
    start = int.from_bytes(exif[4:8], order)  # type: ignore[arg-type]
    count = int.from_bytes(exif[start : start + 2], order)  # type: ignore[arg-type]
    for index in range(count):
        row = exif[start + 2 + 12 * index : start + 14 + 12 * index]
        if int.from_bytes(row[:2], order) == _ORIENTATION:  # type: ignore[arg-type]
            kind = int.from_bytes(row[2:4], order)  # type: ignore[arg-type]
            value = int.from_bytes(row[8:10], order) or UPRIGHT  # type: ignore[arg-type]
            return value if kind == _SHORT and value in _KNOWN else None
    return UPRIGHT
