"""Records that machines wrote: typed values under a digest of the content.

A record is one line with the sha256 of the rest, then JSON. A flipped bit, a cut file or another
format counts as absent, and the record is made again. The digest detects damage, not malice: a
writer of records can write digests. The types of the values limit what a hostile record can do.
"""

import re
from pathlib import Path
from typing import Annotated, TypeVar

from buildsys.digest import canonical, digest_bytes
from buildsys.files import read_regular
from buildsys.names import check_relative_name
from buildsys.typed_json import decode, read

T = TypeVar("T")
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def is_digest(text: str) -> bool:
    """Return whether it is a sha256 as we write it: 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> None:
    """Raise ValueError for a text that is not a digest."""
    if not is_digest(text):
        raise ValueError("it is not a digest of 64 lower-case hexadecimal digits")


def check_size(count: int) -> None:
    """Raise ValueError for a number of bytes below zero, or larger than any disk."""
    if not 0 <= count < 1 << 63:
        raise ValueError("it is below zero, or too large")


_LONGEST_DURATION = 1e12
"""In any unit; milliseconds of thirty years."""


def check_duration(count: float) -> None:
    """Raise ValueError for a time, in any unit, that is below zero or longer than any step."""
    if not 0 <= count <= _LONGEST_DURATION:
        raise ValueError("it is below zero, or too long")


Digest = Annotated[str, check_digest]
RelativeName = Annotated[str, check_relative_name]
Size = Annotated[int, check_size]
Seconds = Annotated[float, check_duration]
Milliseconds = Annotated[float, check_duration]


def write_record(value: object) -> bytes:
    """Return a value as a record; `read_record` with the value's type returns the value."""
    text = canonical(value).encode()
    return digest_bytes(text).encode() + b"\n" + text + b"\n"


def read_record(kind: type[T], data: bytes) -> T:
    """Return the value of a record. Raises ValueError if it is damaged or has another type."""
    digest, _, text = data.partition(b"\n")
    if not text.endswith(b"\n") or digest_bytes(text[:-1]).encode() != digest:
        raise ValueError("a damaged record")
    return decode(kind, read(text, distinct=False))  # the digest shows that we have written it


def find_record(kind: type[T], path: Path) -> T | None:
    """Return the value of a record in a file; None if it is absent, damaged or has another type."""
    try:
        return read_record(kind, read_regular(path))
    except (OSError, ValueError):
        return None
