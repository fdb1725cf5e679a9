"""Records that machines wrote: typed values under a digest of the content.

A record is one line with the sha256 of what follows, then JSON. A flipped bit, a cut file or
another format reads as absent, and the owner makes the record again. The digest detects damage, not
malice: a writer of records can write digests. The types of the values bound what a hostile record
can do.
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
    """Whether it is a sha256 as we write it: 64 lower-case hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def check_digest(text: str) -> None:
    """Raises ValueError for what is no digest."""
    if not is_digest(text):
        raise ValueError("it is not a digest of 64 lower-case hexadecimal digits")


def check_size(count: int) -> None:
    """Raises ValueError for a number of bytes below zero, or beyond any disk."""
    if not 0 <= count < 1 << 63:
        raise ValueError("it is below zero, or too large")


def check_duration(count: float) -> None:
    """Raises ValueError for a time below zero, in any unit."""
    if count < 0:
        raise ValueError("it is below zero")


Digest = Annotated[str, check_digest]
RelativeName = Annotated[str, check_relative_name]
Size = Annotated[int, check_size]
Seconds = Annotated[float, check_duration]
Milliseconds = Annotated[float, check_duration]


def write_record(value: object) -> bytes:
    """A value as a record; `read_record` with the value's type gives it back."""
    text = canonical(value).encode()
    return digest_bytes(text).encode() + b"\n" + text + b"\n"


def read_record(kind: type[T], data: bytes) -> T:
    """The value of a record. Raises ValueError for one that is damaged or says something else."""
    digest, _, text = data.partition(b"\n")
    if not text.endswith(b"\n") or digest_bytes(text[:-1]).encode() != digest:
        raise ValueError("a damaged record")
    return decode(kind, read(text, distinct=False))  # the digest is of what we have written


def find_record(kind: type[T], path: Path) -> T | None:
    """The value of a record in a file; None where the file is absent or damaged, or is another record."""
    try:
        return read_record(kind, read_regular(path))
    except (OSError, ValueError):
        return None
