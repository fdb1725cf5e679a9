"""A PyTorch file looked at as a file: an archive with a pickle in it, of which nothing is executed.

Standard library alone: `buildsys check` reads weights where no torch is.
"""

import itertools
import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

Operations = list[tuple[str, Any]]
"""(opcode, argument) in the pickle's order."""

_DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    StopIteration,
    IndexError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What zipfile and its decompressors raise on files that are no archives, or no longer."""


_LARGEST_PICKLE = 16 << 20
_MOST_OPERATIONS = 1_000_000
"""The pickles of the largest networks have a tenth of that; a bomb has gigabytes."""


def checkpoint_problem(path: Path) -> tuple[str, str] | None:
    """What is wrong with a `.pt` as a file, and what to do; None where it can be a checkpoint."""
    again = "fetch or copy it again; then its sha256 changes, too"
    with path.open("rb") as stream:
        start = stream.read(2)
    if not start:
        return "the file is empty", again
    if start[:1] == b"\x80":
        return None  # a plain pickle, as PyTorch wrote before 1.6
    if start != b"PK":
        return (
            "this is no PyTorch checkpoint",
            "was another file meant, or a page instead of a file?",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            size = _pickle_in(archive).file_size
    except StopIteration:
        return (
            "this is an archive without a checkpoint in it",
            "give the .pt itself, not a .zip of it",
        )
    except _DAMAGED:
        return "the file is damaged or cut off", again
    if size > _LARGEST_PICKLE:
        return f"its pickle unpacks to {size / 1e6:.0f} MB; no network has so much to say", ""
    return None


def _pickle_in(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    return next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))


def read_operations(path: Path) -> Operations | None:
    """The pickle's opcodes; None when the file is no PyTorch archive, or is damaged."""
    import pickletools

    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(_pickle_in(archive)) as stream:
                data = stream.read(_LARGEST_PICKLE)
            genops = itertools.islice(pickletools.genops(data), _MOST_OPERATIONS)
            return [(op.name, arg) for op, arg, _ in genops]
    except _DAMAGED:
        return None
