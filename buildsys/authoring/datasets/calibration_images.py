"""Calibration images that a pattern selects."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from buildsys.authoring.datasets.image_counts import ImageCount
from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.steps.lib.datasets.file_lists import list_parts
from buildsys.steps.lib.datasets.pixel_boxes import show
from buildsys.steps.lib.images.decoding import SUFFIXES, is_image


def split_glob(pattern: str) -> tuple[str, str]:
    """Split "data/cam/**/*.jpg" into the folder without wildcards, and the rest."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return "/".join(parts[:fixed]) or ".", "/".join(parts[fixed:])


def find_problem(workspace: Path, names: Sequence[str], pattern: str) -> tuple[str, str] | None:
    """Return why a pattern that matches `names` selects no image, and what to do."""
    if any(is_image(PurePosixPath(name)) for name in names):
        return None
    if not names:
        return f"no file matches {pattern}", _hint_no_match(workspace, pattern)
    message = f"none of the files that {pattern} matches is an image, such as {show(names[0])}"
    return message, f"images end in {', '.join(sorted(SUFFIXES))}"


def _hint_no_match(workspace: Path, pattern: str) -> str:
    home, rest = split_glob(pattern)
    folder = workspace / home
    if not os.path.isdir(folder):
        return hint_missing(folder, home)
    if not rest or not set(rest) & set("*?["):
        return hint_missing(workspace / pattern, pattern)
    return f"put images into {home}, or change the pattern"


def list_matches(workspace: Path, pattern: str) -> tuple[str, ...]:
    """Return the files that a pattern matches, from its folder without wildcards; a path without a
    wildcard matches nothing.
    """
    root, rest = split_glob(pattern)
    return tuple(name for name, _ in list_parts(str(workspace / root), (rest,)).files)


def count_matches(workspace: Path, names: Sequence[str], pattern: str) -> ImageCount:
    """Return the number of images among the files that a pattern matches."""
    images = [name for name in names if is_image(PurePosixPath(name))]
    home = workspace / split_glob(pattern)[0]
    folders = frozenset((home / name).parent for name in images)
    return ImageCount(number=len(images), folders=folders)
