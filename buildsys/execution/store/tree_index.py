"""A tree's index: the files of a folder, each with its size and the digest of its content.

The index is a blob, and its digest is the tree's: the same folder always has the same digest. Its
bytes therefore have only one form and no version: `[["path/below",12,"<sha256>"],…]`, sorted by
path.
"""

import functools
import json
from collections.abc import Callable, Iterable
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
    """Return a tree's index as bytes, whose digest is the tree's."""
    return json.dumps(sorted(files), separators=(",", ":")).encode()


@functools.lru_cache(maxsize=16)  # a run reads the same few indexes, and a dataset has many files
def read_index(data: bytes) -> Tree:
    """Return the files of a tree.

    Raises ValueError for bytes that `encode_index` would not have written for files that can be in
    one folder on every machine.
    """
    rows = parse(tuple[tuple[str, Size, Digest], ...], data)
    check_names(name for name, _, _ in rows)
    if encode_index(rows) != data:
        raise ValueError("not the canonical form of an index")
    return tuple(TreeFile(*row) for row in rows)


def all_blobs(artifacts: Iterable[tuple[str, bool]], read_tree: Callable[[str], Tree]) -> set[str]:
    """Return the digests of artifacts, (digest, whether it is a tree) each, and of trees' files.

    `read_tree`: returns the files of a tree; what it raises or returns for one that cannot be read
    is the caller's decision.
    """
    found: set[str] = set()
    for digest, is_tree in artifacts:
        found.add(digest)
        if is_tree:
            found.update(file.digest for file in read_tree(digest))
    return found
