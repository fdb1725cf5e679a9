"""Read the orientation in EXIF data (TIFF 6.0)."""

_ORIENTATION = 0x0112
_SHORT = 3
_UPRIGHT = (0, 1)


def is_upright(exif: bytes) -> bool:
    """Return whether EXIF data, from their byte order on, state no rotation; False if they are
    malformed.
    """
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return False
    start = int.from_bytes(exif[4:8], order)  # type: ignore[arg-type]
    count = int.from_bytes(exif[start : start + 2], order)  # type: ignore[arg-type]
    for index in range(count):
        row = exif[start + 2 + 12 * index : start + 14 + 12 * index]
        if int.from_bytes(row[:2], order) == _ORIENTATION:  # type: ignore[arg-type]
            kind = int.from_bytes(row[2:4], order)  # type: ignore[arg-type]
            value = int.from_bytes(row[8:10], order)  # type: ignore[arg-type]
            return kind == _SHORT and value in _UPRIGHT
    return True
