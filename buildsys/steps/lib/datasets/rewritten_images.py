"""The images that `prepare_dataset` writes as PNG: how many, for which reasons, and their size."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.images import decoding, jpeg_file
from buildsys.steps.lib.images.exif import UPRIGHT
from buildsys.steps.lib.images.image_headers import is_upright, orientation_of
from buildsys.steps.lib.images.png_file import encode_png

_ENCODED = 8
"""Images that are encoded to estimate the size of all."""
_FORMATS: tuple[tuple[tuple[bytes, ...], tuple[str, ...], str], ...] = (
    ((jpeg_file.START,), tuple(decoding.SUFFIXES), "JPEG with CMYK or a rare coding"),
    (
        (b"\x89PNG\r\n\x1a\n",),
        (".png",),
        "PNG with a palette, other than 8 bits, transparency or several frames",
    ),
    ((b"BM",), (".bmp",), "BMP with other than 24 bits, or compressed"),
    ((b"RIFF",), (".webp",), "WebP without loss, or with transparency, metadata or several frames"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), (".tif", ".tiff"), "TIFF"),
)
"""The first bytes of each format, its file name endings, and which of its images become PNG."""


def find_reason(path: Path) -> str:
    """Return what kind of image a file is, of those that become PNG (see `decoding.Photo`)."""
    data = path.read_bytes()
    if orientation_of(data) is None:
        return "with malformed EXIF data"
    if orientation_of(data) != UPRIGHT:
        return "rotated by EXIF data"
    if not is_upright(data):
        return "with a rotation that only some programs apply (XMP, several EXIF data)"
    for starts, endings, kind in _FORMATS:
        if data.startswith(starts) and path.suffix.lower() in endings:
            return kind
    return "with the file name ending of another format"


def describe_rewritten(root: Path, names: Sequence[str]) -> Finding:
    """Return the finding that these images become PNG.

    Their size is estimated from a few of them.
    """
    sizes = {name: (root / name).stat().st_size for name in names}
    chosen = names[:: -(-len(names) // _ENCODED)]
    encoded = 0
    for name in chosen:
        encoded += len(encode_png(decoding.read_image(root / name)))
    before = sum(sizes.values())
    after = encoded * before / sum(sizes[name] for name in chosen)
    number = f"{len(names)} images become" if len(names) > 1 else "1 image becomes"
    reasons = Counter(find_reason(root / name) for name in names)
    counts = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    message = (
        f"{number} PNG for training and evaluation, about {_size(after)} instead of"
        f" {_size(before)}; {'the first' if len(names) > 1 else 'that'} is {names[0]}"
    )
    which = "; ".join(f"{count} {reason}" for reason, count in counts)
    return Finding.warning(
        "rewritten", "", message, f"programs read such files differently: {which}"
    )


def _size(number: float) -> str:
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"
