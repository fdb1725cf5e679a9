"""Decide which files are images, and decode them to 8-bit BGR.

All steps use this module: the dataset check, calibration, evaluation, `predict` and the preparation
for training. OpenCV decides: the first EXIF orientation is applied, XMP is not; 16-bit values keep their high byte; grey becomes three
equal channels; alpha is dropped (a TIFF is multiplied by it); CMYK is converted by OpenCV; the
first of several pages or frames is used. A damaged image is a finding and does not end the step.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from buildsys.steps.lib.files import foreign
from buildsys.steps.lib.files.hidden_files import is_hidden
from buildsys.steps.lib.images import jpeg_file
from buildsys.steps.lib.images.exif import SIDES_EXCHANGED
from buildsys.steps.lib.images.image_headers import is_cut_off, is_plain, orientation_of
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
_TIFFS = (b"II*\x00", b"MM\x00*")
_OTHER_KINDS = (b"BM", b"RIFF", *_TIFFS)
_BITS = "save it with 8 bits a channel"
_MOST_BITS = 8
"""The most bits a channel of a JPEG that OpenCV decodes."""
_TOO_LARGE = ("CV_IO_MAX_IMAGE", "exceeds user limit")
"""In what OpenCV and libpng write about an image above their limits."""
_LARGEST = "images of at most 1,000 million pixels, and a million a side, are read; make it smaller"
_ORIGIN = re.compile(r"^\[ *\w+:\d+@[\d.]+\] global \S+ \w+ ")
"""Level, thread, clock, source file and function before a message of OpenCV."""
_TAIL = 4096
_LESS_MEMORY = "end other programs, or build with `-n 1`"


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
    """Read an image; never raises because of the file's content, ends the step if memory runs out."""
    try:
        return decode(path.read_bytes(), path.suffix)
    except OSError as error:
        return Photo(digest="", image=None, problem=f"cannot be read: {error.strerror}")
    except MemoryError:
        fail(f"{path.name} does not fit into the memory that is left; {_LESS_MEMORY}.")


def read_image(path: Path) -> "np.ndarray":
    """Return an image's pixels, uint8 [h, w, 3] BGR; ends the step if it is damaged."""
    photo = read(path)
    if photo.image is None:
        fail(f"{path.name} {photo.problem}.")
    return photo.image


def decode(data: bytes, suffix: str) -> Photo:
    """Decode a file's bytes; `suffix` is the ending of its name. Raises MemoryError."""
    import numpy as np

    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Photo(digest=digest, image=None, problem="is an empty file")
    image, text = _decode(data)
    if image is None:
        return Photo(digest=digest, image=None, problem=explain(data, text))
    jpeg = jpeg_file.keep_image(data)
    if not jpeg and is_cut_off(data):
        problem = f"is cut off after {len(data)} bytes; fetch it again, or remove it"
        return Photo(digest=digest, image=None, problem=problem)
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        return Photo(
            digest=digest, image=None, problem=f"has pixels of type {image.dtype}; {_BITS}"
        )
    plain = is_plain(data, suffix, jpeg)
    return Photo(digest=digest, image=image, damaged=clean_message(text), plain=plain, jpeg=jpeg)


def _decode(data: bytes) -> "tuple[np.ndarray | None, str]":
    """Return the pixels, or None if there are none, and what the decoder wrote about them.

    Pixels of other types than 8 or 16 bits may be returned without a conversion to BGR.
    """
    import cv2
    import numpy as np

    found, image = np.frombuffer(data, np.uint8), None
    with captured_stderr() as log:
        try:
            image = cv2.imdecode(found, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
            if image is None and data.startswith(_TIFFS):
                other = cv2.imdecode(found, cv2.IMREAD_UNCHANGED)
                if other is not None and other.dtype not in (np.uint8, np.uint16):
                    image = other
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            return None, str(error)
        return image, read_text(log)


def clean_message(text: str) -> str:
    """Return the last line that a decoder wrote, without OpenCV's clock and source file; empty for
    a failed check in OpenCV's source.
    """
    lines = text.strip().splitlines()
    last = _ORIGIN.sub("", lines[-1].strip()) if lines else ""
    return "" if "OpenCV(" in last else last


def explain(data: bytes, text: str = "") -> str:
    """Return why bytes that no decoder accepts are not an image. `text`: what the decoder wrote."""
    if any(word in text for word in _TOO_LARGE):
        return f"is too large: {_LARGEST}"
    message = clean_message(text)
    more = f" ({message})" if message else ""
    for start, end in _ENDS.items():
        if data.startswith(start):
            if end not in data[-_TAIL:]:
                return "is truncated: its end is missing"
            bits = jpeg_file.find_precision(data) if start.startswith(jpeg_file.START) else 0
            if bits > _MOST_BITS:
                return f"has {bits} bits a channel; {_BITS}"
            return f"is damaged: it does not decode{more}"
    if data.startswith(_OTHER_KINDS):
        return f"is truncated or damaged: it does not decode{more}"
    instead = foreign.stand_in(data[:64])
    if instead is not None:
        return f"cannot be read: {'; '.join(instead)}"
    return "is not an image, whatever its name says"


def is_turned(path: Path) -> bool:
    """Return whether an image is shown with its width as its height, by its EXIF data."""
    try:
        return orientation_of(path.read_bytes()) in SIDES_EXCHANGED
    except OSError:
        return False
