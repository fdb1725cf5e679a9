"""Decide which files are images, and decode them to 8-bit BGR.

All steps use this module: the dataset check, calibration, evaluation, `predict` and the preparation
for training. EXIF orientation is applied; 16-bit values keep their high byte; grey becomes three
equal channels; alpha is dropped (a TIFF is multiplied by it); CMYK is converted by OpenCV; the
first of several pages or frames is used. A damaged image is a finding and does not end the step.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from buildsys.steps.lib.datasets import jpeg_file
from buildsys.steps.lib.datasets.exif import is_upright
from buildsys.steps.lib.datasets.hidden_files import is_hidden
from buildsys.steps.lib.files import foreign
from buildsys.steps.lib.runtime.native_stderr import captured_stderr, read_text
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import numpy as np

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
"""File name endings of images, in lower case."""
UNREAD_SUFFIXES = frozenset(
    {".avif", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".pgm", ".pnm", ".ppm"}
)
"""Endings of image formats that are not supported: such files are reported and omitted."""
SMALLEST = 10
"""Minimum of an image's shorter side in pixels; Ultralytics omits smaller images."""

_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}
"""The first bytes of a file format, and what its last bytes must contain."""
_OTHER_KINDS = (b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
_TAIL = 4096


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded image, uint8 [h, w, 3] BGR, or None and the `problem`.

    `damaged`: the decoder's warning about an image that it still decoded; `plain`: every decoder
    gives the same pixels, so that the file's bytes can be passed on unchanged. `jpeg`: what
    `jpeg_file.keep_image` returns.
    """

    digest: str
    image: "np.ndarray | None"
    problem: str = ""
    damaged: str = ""
    plain: bool = False
    jpeg: bytes = b""


def is_image(path: PurePath) -> bool:
    """Return whether a file is an image, by its name; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not is_hidden(path.name)


def read(path: Path) -> Photo:
    """Read an image; never raises because of the file's content."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Photo(digest="", image=None, problem=f"cannot be read: {error.strerror}")
    return decode(data, path.suffix)


def read_image(path: Path) -> "np.ndarray":
    """Return an image's pixels, uint8 [h, w, 3] BGR; ends the step if it is damaged."""
    photo = read(path)
    if photo.image is None:
        fail(f"{path.name} {photo.problem}.")
    return photo.image


def decode(data: bytes, suffix: str) -> Photo:
    """Decode a file's bytes; `suffix` is the ending of its name."""
    import cv2
    import numpy as np

    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Photo(digest=digest, image=None, problem="is an empty file")
    with captured_stderr() as log:
        try:
            image = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
            )
        except cv2.error:  # a size above OpenCV's limits
            image = None
        text = _last_line(read_text(log))
    if image is None:
        return Photo(digest=digest, image=None, problem=explain(data))
    jpeg = jpeg_file.keep_image(data)
    if not jpeg and is_cut_off(data):
        problem = f"is cut off after {len(data)} bytes; fetch it again, or remove it"
        return Photo(digest=digest, image=None, problem=problem)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        problem = f"has pixels of type {image.dtype}; save it with 8 bits a channel"
        return Photo(digest=digest, image=None, problem=problem)
    plain = is_plain(data, suffix, jpeg)
    return Photo(digest=digest, image=np.asarray(image), damaged=text, plain=plain, jpeg=jpeg)


def explain(data: bytes) -> str:
    """Return why bytes that no decoder accepts are not an image."""
    for start, end in _ENDS.items():
        if data.startswith(start):
            cut = end not in data[-_TAIL:]
            return "is truncated: its end is missing" if cut else "is damaged: it does not decode"
    if data.startswith(_OTHER_KINDS):
        return "is truncated or damaged: it does not decode"
    instead = foreign.stand_in(data[:64])
    if instead is not None:
        return f"cannot be read: {'; '.join(instead)}"
    return "is not an image, whatever its name says"


def is_cut_off(data: bytes) -> bool:
    """Return whether an image is truncated; decoders fill the rest with grey without an error."""
    if data.startswith(jpeg_file.START):
        return jpeg_file.is_cut_off(data)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def is_turned(path: Path) -> bool:
    """Return whether an image's EXIF data rotate it, or are malformed."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    if data.startswith(jpeg_file.START):
        return jpeg_file.is_turned(data)
    mark = b"eXIf" if data.startswith(b"\x89PNG") else b"Exif\0\0"
    return mark in data and not is_upright(data[data.find(mark) + len(mark) :])


def is_plain(data: bytes, suffix: str, jpeg: bytes) -> bool:
    """Return whether every decoder gives the same pixels for an image: 8 bits, grey or RGB,
    upright, one frame, and with the right file name ending.

    `jpeg`: what `jpeg_file.keep_image` returns for the image. Formats: see there; PNG 1.2, Windows'
    BITMAPINFOHEADER, RFC 9649.
    """
    kind = suffix.lower()
    if jpeg:
        return kind in jpeg_file.SUFFIXES and jpeg == data
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return kind == ".png" and _is_plain_png(data)
    if data.startswith(b"BM"):
        bits, compression = data[28:30], data[30:34]
        return kind == ".bmp" and bits == b"\x18\x00" and compression == bytes(4)
    if data.startswith(b"RIFF"):
        return kind == ".webp" and data[8:16] == b"WEBPVP8 "
    return False


def _is_plain_png(data: bytes) -> bool:
    """Return whether a PNG is grey or RGB with 8 bits, without transparency, orientation or
    animation.
    """
    if data[24:26] not in (b"\x08\x00", b"\x08\x02"):
        return False
    place = 8
    while place + 8 <= len(data):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if name in (b"tRNS", b"eXIf", b"acTL"):
            return False
        if name == b"IEND":
            return True
        place += 12 + size
    return False


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
