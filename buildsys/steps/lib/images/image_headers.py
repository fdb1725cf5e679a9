"""Read the headers of image files: whether one is cut off, how it is rotated, and whether every
decoder gives the same pixels for it.

Formats: see `jpeg_file` and `exif`; PNG 1.2 and its extensions 1.5, Windows' BITMAPINFOHEADER, RFC
9649 (WebP).
"""

import zlib
from collections.abc import Iterator

from buildsys.steps.lib.images import exif, jpeg_file
from buildsys.steps.lib.images.exif import UPRIGHT, read_orientation

PNG = b"\x89PNG\r\n\x1a\n"
"""The first bytes of a PNG."""
_TIFF = (b"II*\0", b"MM\0*")
_RAW_EXIF, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"
"""Keywords of a PNG's texts that hold EXIF data, in hexadecimal after three lines, and XMP."""
_LONGEST = 2**24
"""Bytes of a compressed text that are read."""
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
    """Return the orientation that a file's EXIF data state: see `exif.read_orientation`. The first
    of several counts, as in OpenCV.
    """
    found = b""
    if data.startswith(jpeg_file.START):
        found = jpeg_file.find_exif(data)
    elif data.startswith(PNG):
        found = next(iter(_exif_chunks(data)), b"")
    elif _is_webp(data):
        found = dict(_webp_chunks(data)).get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    elif data.startswith(_TIFF):
        found = data
    return read_orientation(found) if found else UPRIGHT


def is_upright(data: bytes) -> bool:
    """Return whether every decoder shows an image as it is stored: see `exif.is_upright`."""
    if data.startswith(jpeg_file.START):
        return jpeg_file.is_upright(data)
    if data.startswith(PNG):
        exifs = _exif_chunks(data) or [_decode_raw(text) for text in _png_texts(data, _RAW_EXIF)]
        return exif.is_upright(exifs, list(_png_texts(data, _XMP)))
    return orientation_of(data) == UPRIGHT


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
        and is_upright(data)
    )


def _exif_chunks(data: bytes) -> list[bytes]:
    return [body for name, body in _png_chunks(data) if name == b"eXIf"]


def _png_texts(data: bytes, keyword: bytes) -> Iterator[bytes]:
    """Yield the texts of a PNG with a keyword, decompressed."""
    for name, body in _png_chunks(data):
        key, _, text = body.partition(b"\0")
        if key == keyword and name in (b"tEXt", b"zTXt", b"iTXt"):
            is_compressed = name == b"zTXt" or (name == b"iTXt" and text[:1] == b"\x01")
            if name == b"iTXt":  # after a language and a keyword in it
                text = text[2:].split(b"\0", 2)[-1]
            yield _decompress(text[name == b"zTXt" :]) if is_compressed else text


def _decompress(data: bytes) -> bytes:
    """Return a text, empty if it is malformed."""
    try:
        return zlib.decompressobj().decompress(data, _LONGEST)
    except zlib.error:
        return b""


def _decode_raw(text: bytes) -> bytes:
    """Return the EXIF data of a text; empty, which is malformed, if it is not hexadecimal."""
    try:
        found = bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""
    return found.removeprefix(b"Exif\0\0")


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
