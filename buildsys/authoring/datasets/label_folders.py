"""Folders `Images` and `Labels`, as on Windows: labels are found by these names in lower case."""

import os
from pathlib import Path, PurePosixPath

_IMAGES, _LABELS = "images", "labels"


def suggest_names(root: Path, image: str) -> str:
    """Return which folders to rename so that the label of an image is found; "" if that is not why.

    `image`: its path relative to the dataset's root.
    """
    parts = PurePosixPath(image).parts[:-1]
    named = [index for index, part in enumerate(parts) if part.lower() == _IMAGES]
    if not named:
        return ""
    beside = _list(root.joinpath(*parts[: named[-1]]))
    labels = [name for name in beside if name.lower() == _LABELS]
    own = parts[named[-1]]
    wrong = [f"{own} to {_IMAGES}, also where its path is written"] if own != _IMAGES else []
    if not labels or (_LABELS in labels and not wrong):
        return ""
    if _LABELS not in labels:
        wrong = [f"{labels[0]} to {_LABELS}", *wrong]
    return f"rename {' and '.join(wrong)}: labels are found by these names in lower case"


def _list(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
