"""The files of a dataset, by their paths from its root."""

import os
from collections.abc import Iterator
from pathlib import Path


def list_files(root: Path, place: str = ".") -> Iterator[str]:
    """Every file in `place` and below, from the root, with slashes; nothing of hidden folders.

    Links to folders are followed, but for those that lead back to a folder around them.
    """
    for folder, folders, names in os.walk(root / place, followlinks=True):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not _leads_back(folder, name)
        )
        start = os.path.relpath(folder, root)
        for name in sorted(names):
            yield name if start == "." else f"{start}/{name}"


def _leads_back(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    if not os.path.islink(path):
        return False
    here = os.path.realpath(folder)
    return os.path.commonpath([here, os.path.realpath(path)]) == os.path.realpath(path)
