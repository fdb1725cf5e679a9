"""Calibration images that a pattern selects."""

from pathlib import Path, PurePosixPath

from buildsys.authoring.syntax.workspace_paths import FROM_ROOT
from buildsys.steps.lib.datasets.file_lists import list_parts
from buildsys.steps.lib.datasets.images import SUFFIXES, is_image
from buildsys.steps.lib.datasets.pixel_boxes import show


def split_glob(pattern: str) -> tuple[str, str]:
    """Split "data/cam/**/*.jpg" into the folder without wildcards, and the rest."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return "/".join(parts[:fixed]) or ".", "/".join(parts[fixed:])


def find_problem(workspace: Path, pattern: str) -> tuple[str, str] | None:
    """Return why a pattern selects no image, and what to do; a path without a wildcard selects
    nothing.
    """
    root, rest = split_glob(pattern)
    names = [name for name, _ in list_parts(str(workspace / root), (rest,)).files]
    if any(is_image(PurePosixPath(name)) for name in names):
        return None
    if not names:
        return f"no file matches {pattern}", FROM_ROOT.format("workspace")
    message = f"none of the files that {pattern} matches is an image, such as {show(names[0])}"
    return message, f"images end in {', '.join(sorted(SUFFIXES))}"
