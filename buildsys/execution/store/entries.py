"""What action entries and tree indexes hold, read from the store's files alone, without any plan."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from buildsys.execution.store.store import Store

DIGEST = re.compile(r"[0-9a-f]{64}")
DIGESTS_ONLY = "digests_only"
"""In an action's entry: what it made is known by digest, and the bytes were left out on purpose."""
STAGING = ".import-"
"""How folders of imports that are under way begin, beside the blobs."""
TreeEntry = tuple[str, int, str]
"""Relative path, size in bytes, digest."""


def tree_entries(path: Path) -> tuple[TreeEntry, ...]:
    """The entries of a tree's index; empty for every other file, and for one that is not there.

    Raises OSError for one that may not be read: whether it is a tree cannot be told.
    """
    try:
        with path.open("rb") as stream:
            if stream.read(2) != b"[[":
                return ()
            stream.seek(0)
            rows = json.load(stream)
    except (FileNotFoundError, ValueError, RecursionError):
        return ()
    if all(_is_tree_entry(row) for row in rows):
        return tuple((name, size, digest) for name, size, digest in rows)
    return ()


def closure(store: Store, digests: Iterable[str]) -> set[str]:
    """Digests with everything that those of them which are trees consist of."""
    found: set[str] = set()
    for digest in digests:
        if digest not in found:
            found.add(digest)
            found |= {blob for _, _, blob in tree_entries(store.blob(digest))}
    return found


def outputs_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The digests that an action's entry names. Raises ValueError where it is none."""
    try:
        digests = tuple(digest for _, digest in entry["outputs"])
        known = isinstance(entry["passed"], bool) and isinstance(entry["seconds"], int | float)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("it is no result of an action") from error
    if not known or not all(isinstance(d, str) and DIGEST.fullmatch(d) for d in digests):
        raise ValueError("it is no result of an action")
    return digests


def _is_tree_entry(row: Any) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and isinstance(row[0], str)
        and isinstance(row[1], int)
        and isinstance(row[2], str)
        and DIGEST.fullmatch(row[2]) is not None
    )
