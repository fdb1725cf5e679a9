"""Checks every path and address of a recipe at its place."""

from pathlib import Path

from buildsys.authoring.recipes.recipe import Recipe
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.authoring.syntax.workspace_paths import (
    BY_NAME,
    LINKED,
    NAMES,
    PINNED,
    RELATIVE,
    check_inside,
    check_kind,
    check_url,
)
from buildsys.errors import Diagnostic


def check_paths(workspace: Path, recipe: Recipe, locate: Locate) -> list[Diagnostic]:
    """Return a diagnostic for every path of a recipe that leads out, at its place."""
    weights, calibration = recipe.source.weights, recipe.quantization.calibration
    pinned = weights.sha256 is not None
    wanted: list[tuple[KeyPath, str | None, str]] = [
        (("source", "weights", "path"), weights.path, LINKED if pinned else PINNED),
        (("dataset", "path"), recipe.dataset.path if recipe.dataset else None, BY_NAME),
        *_sheets(recipe),
        (
            ("quantization", "calibration", "images"),
            calibration.images if calibration else None,
            RELATIVE,
        ),
    ]
    if recipe.firmware is not None and recipe.firmware.endswith(".yaml"):
        wanted.append((("firmware",), recipe.firmware, RELATIVE))
    problems = [
        locate(at, *wrong)
        for at, url in (
            (("source", "weights", "url"), weights.url),
            (("dataset", "url"), recipe.dataset.url if recipe.dataset else None),
        )
        if url is not None and (wrong := check_url(url)) is not None
    ]
    for at, path, hint in wanted:
        is_pinned = pinned and at[0] == "source"
        wrong = None
        if path is not None:
            wrong = check_inside(workspace, path, pinned=is_pinned, hint=hint)
            wrong = wrong or check_kind(workspace, path)
        if wrong is not None:
            problems.append(locate(at, *wrong))
    return [problem for problem in problems if problem.path != NAMES]


def _sheets(recipe: Recipe) -> list[tuple[KeyPath, str | None, str]]:
    """Return the annotation files and folders of a dataset in COCO format."""
    splits = recipe.dataset.splits if recipe.dataset else None
    return [
        (("dataset", "splits", name, key), place, BY_NAME)
        for name, sheet in (splits.given if splits else ())
        for key, place in (("annotations", sheet.annotations), ("images", sheet.images))
    ]
