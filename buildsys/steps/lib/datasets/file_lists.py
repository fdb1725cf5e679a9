"""The files of a dataset, by their paths from its root."""

import os
from collections.abc import Iterator
from pathlib import Path


def list_files(root: Path, place: str = ".") -> Iterator[str]:
    """Every file in `place` and below, from the root, with slashes; nothing of hidden folders."""
    for folder, folders, names in os.walk(root / place, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        start = os.path.relpath(folder, root)
        for name in sorted(names):
            yield name if start == "." else f"{start}/{name}"
