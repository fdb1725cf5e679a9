"""Read a PyTorch file as an archive with a pickle, without executing anything.

Only the standard library is used, because `buildsys check` reads weights without torch.
"""

import itertools
import lzma
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files.foreign import AGAIN, recognize

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
"""Exceptions of zipfile and its decompressors for files that are not archives, or damaged ones."""


_LARGEST_PICKLE = 16 << 20
_MOST_OPERATIONS = 1_000_000
"""Maximum number of operations: the largest networks have a tenth of it, a decompression bomb has
gigabytes.
"""


_OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of PyTorch before 1.6 begin: a pickle of the number MAGIC_NUMBER in torch/serialization.py."""
_NO_CHECKPOINT = (
    "this is not a PyTorch checkpoint",
    "was another file meant? torch.save writes one",
)


def is_old(path: Path) -> bool:
    """Return whether PyTorch before 1.6 wrote the file: torch can load it, but this module cannot
    read it.
    """
    with path.open("rb") as stream:
        return stream.read(len(_OLD)) == _OLD


def checkpoint_problem(path: Path) -> tuple[str, str] | None:
    """Return what is wrong with a `.pt` file, and what to do; None if it can be a checkpoint."""
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(_OLD):
        return None
    if not start.startswith(b"PK"):
        return recognize(start) or _NO_CHECKPOINT
    try:
        with zipfile.ZipFile(path) as archive:
            size = _pickle_in(archive).file_size
    except StopIteration:
        return (
            "this is an archive without a checkpoint in it",
            "give the .pt itself, not a .zip of it",
        )
    except _DAMAGED:
        return "the file is damaged or cut off", AGAIN
    if size > _LARGEST_PICKLE:
        return f"its pickle unpacks to {size / 1e6:.0f} MB; no network has so much to say", ""
    return None


def _pickle_in(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    return next(info for info in archive.infolist() if info.filename.endswith("/data.pkl"))


def read_operations(path: Path) -> Operations | None:
    """Return the pickle's opcodes; None if the file is not a PyTorch archive, or is damaged."""
    import pickletools

    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(_pickle_in(archive)) as stream:
                data = stream.read(_LARGEST_PICKLE)
            genops = itertools.islice(pickletools.genops(data), _MOST_OPERATIONS)
            return [(op.name, arg) for op, arg, _ in genops]
    except _DAMAGED:
        return None
