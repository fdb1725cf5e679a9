"""Read the headers of image files: whether one is cut off, how it is rotated, and whether every
decoder gives the same pixels for it.

Formats: see `jpeg_file` and `exif`; PNG 1.2 and its extensions 1.5, Windows' BITMAPINFOHEADER, RFC
9649 (WebP).
"""

from collections.abc import Iterator

from buildsys.steps.lib.images import jpeg_file
from buildsys.steps.lib.images.exif import UPRIGHT, read_orientation

PNG = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG."""
_TIFF = (b"II*\0", b"MM\0*")
_PLAIN_PNG = (b"\x08\x00", b"\x08\x02")
"""Bits and colour type: grey or RGB with 8 bits."""


def is_cut_off(data: bytes) -> bool:
    """Return whether an image is truncated; decoders fill the rest with grey without an error."""
    if data.startswith(jpeg_file.START):
        return jpeg_file.is_cut_off(data)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if _is_webp(data):
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def orientation_of(data: bytes) -> int | None:
    """Return the orientation that a file's EXIF data state: see `exif.read_orientation`."""
    exif = b""
    if data.startswith(jpeg_file.START):
        exif = jpeg_file.find_exif(data)
    elif data.startswith(PNG):
        exif = dict(_png_chunks(data)).get(b"eXIf", b"")
    elif _is_webp(data):
        exif = dict(_webp_chunks(data)).get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    elif data.startswith(_TIFF):
        exif = data
    return read_orientation(exif) if exif else UPRIGHT


def is_plain(data: bytes, suffix: str, jpeg: bytes) -> bool:
    """Return whether every decoder gives the same pixels for an image: 8 bits, grey or RGB,
    upright, one frame, and with the right file name ending.

    `jpeg`: what `jpeg_file.keep_image` returns for the image.
    """
    kind = suffix.lower()
    if jpeg:
        return kind in jpeg_file.SUFFIXES and jpeg == data
    if data.startswith(PNG):
        return kind == ".png" and _is_plain_png(data)
    if data.startswith(b"BM"):
        bits, compression = data[28:30], data[30:34]
        return kind == ".bmp" and bits == b"\x18\x00" and compression == bytes(4)
    if data.startswith(b"RIFF"):
        return kind == ".webp" and data[8:16] == b"WEBPVP8 "
    return False


def _is_plain_png(data: bytes) -> bool:
    """Return whether a PNG is grey or RGB with 8 bits, upright, without transparency or animation."""
    names = [name for name, _ in _png_chunks(data)]
    return (
        data[24:26] in _PLAIN_PNG
        and names[-1:] == [b"IEND"]
        and not {b"tRNS", b"acTL"} & set(names)
        and orientation_of(data) == UPRIGHT
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk up to the last one, IEND."""
    place, name = len(PNG), b""
    while place + 8 <= len(data) and name != b"IEND":
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        yield name, data[place + 8 : place + 8 + size]
        place += 12 + size


def _is_webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each chunk; one of an odd size is followed by a zero."""
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        yield name, data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
