"""Read the segments of a JPEG file, and keep its image without the data around it.

Format: ITU-T T.81 annex B. Segments state their length, and 0xFF in a scan is followed by 0 or by a
restart marker. Phones add a second image (an index in a segment MPF, CIPA DC-007, and the image
itself behind the first), a film, or data of their own behind the image.
"""

import re
from collections.abc import Iterable, Iterator

from buildsys.steps.lib.images import exif

START = b"\xff\xd8"
"""The first bytes of a file."""
SUFFIXES = (".jpg", ".jpeg")
"""File name endings, in lower case."""
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_START, _END, _SCAN, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xE1, 0xE2
_OTHER_FRAMES = (0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_EXIF, _XMP, _FURTHER_IMAGES = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0"
_MARK = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""The marker at the start of a segment."""
_Segment = tuple[int, bytes, bytes]
"""A segment's marker, its content, and all its bytes."""


def is_cut_off(data: bytes) -> bool:
    """Return whether no end-of-image marker follows the scans."""
    return not _find_end(data)


def find_exif(data: bytes) -> bytes:
    """Return the EXIF data of a file; empty if there are none."""
    return next(iter(_metadata(_segments(data), _EXIF)), b"")


def find_precision(data: bytes) -> int:
    """Return the bits of each value of an image; 0 if no segment states it."""
    frames = (_BASELINE, _EXTENDED, _PROGRESSIVE, *_OTHER_FRAMES)
    return next((body[0] for marker, body, _ in _segments(data) if marker in frames and body), 0)


def is_upright(data: bytes) -> bool:
    """Return whether every decoder shows the image as it is stored: see `exif.is_upright`."""
    return _is_upright(list(_segments(data)))


def keep_image(data: bytes) -> bytes:
    """Return a file with the same image, without a second image and other data behind it.

    Every decoder gives the same pixels for it: it has 8 bits, is grey or RGB, baseline or
    progressive, and upright. Empty for any other file.
    """
    if not data.startswith(START):
        return b""
    kept, plain = [START], False
    segments = list(_segments(data))
    if not _is_upright(segments):
        return b""
    for marker, body, whole in segments:
        if marker in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            plain = body[:1] == b"\x08" and body[5:6] in (b"\x01", b"\x03")
        if marker == _SCAN:
            return b"".join((*kept, whole)) if plain else b""
        if marker != _APP2 or not body.startswith(_FURTHER_IMAGES):
            kept.append(whole)
    return b""


def _is_upright(segments: list[_Segment]) -> bool:
    return exif.is_upright(_metadata(segments, _EXIF), _metadata(segments, _XMP))


def _metadata(segments: Iterable[_Segment], kind: bytes) -> list[bytes]:
    found = [body for marker, body, _ in segments if marker == _APP1 and body.startswith(kind)]
    return [body[len(kind) :] for body in found if len(body) > len(kind)]


def _segments(data: bytes) -> Iterator[_Segment]:
    """Yield each segment up to the first scan.

    The scan's bytes reach to the end of the image; a file that is cut off has no scan.
    """
    end = _find_end(data)
    start = place = len(START)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        stop = place + 2 + size
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == _SCAN:
            if end:
                yield marker, data[place + 4 : stop], data[start:end]
            return
        yield marker, data[place + 4 : stop], data[start:stop]
        start = place = stop


def _find_end(data: bytes) -> int:
    """Return the index behind the end-of-image marker that follows the scans, or 0.

    Data behind it (a film, a second image) have markers of their own.
    """
    place, scanning = len(START), False
    while mark := _MARK.search(data, place):
        code = mark.group()[-1]
        if code == _END and scanning:
            return mark.end()
        if code == _START:
            return 0
        scanning = scanning or code == _SCAN
        place = mark.end() + int.from_bytes(data[mark.end() : mark.end() + 2], "big")
    return 0
