"""A tree's index: the files of a folder, each with its size and the digest of its content.

The index is a blob, and its digest is the tree's: the same folder has the same digest for ever. So
its bytes have one form only, and no version: `[["path/below",12,"<sha256>"],…]`, sorted by path.
"""

import functools
import json
from collections.abc import Iterable
from typing import NamedTuple

from buildsys.names import check_names
from buildsys.records import Digest, Size
from buildsys.typed_json import parse


class TreeFile(NamedTuple):
    """One file of a tree: its path relative to the folder, its size in bytes, its digest."""

    name: str
    size: int
    digest: str


Tree = tuple[TreeFile, ...]


def encode_index(files: Iterable[tuple[str, int, str]]) -> bytes:
    """A tree's index as bytes: its digest is the tree's."""
    return json.dumps(sorted(files), separators=(",", ":")).encode()


@functools.lru_cache(maxsize=16)  # a run asks for the same few, and a dataset has many files
def read_index(data: bytes) -> Tree:
    """The files of a tree. Raises ValueError for what `encode_index` would not have written for files
    that can lie in one folder on every machine.
    """
    rows = parse(tuple[tuple[str, Size, Digest], ...], data)
    check_names(name for name, _, _ in rows)
    if encode_index(rows) != data:
        raise ValueError("not the canonical form of an index")
    return tuple(TreeFile(*row) for row in rows)
