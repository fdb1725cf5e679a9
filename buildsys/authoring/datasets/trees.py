"""Checks that every file of given data can be read, and that labels are found by their names."""

import os
from collections.abc import Hashable
from pathlib import Path

from buildsys.authoring.datasets.name_forms import find_lost_labels
from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets.file_lists import list_parts

Known = dict[Hashable, tuple[Diagnostic, ...]]
"""Results of this run: the builds of a recipe share their data."""


LABELLED = ("ultralytics", "darknet")
"""Formats in which an image finds its labels by its name alone; without them it is a background."""


def check_tree(
    root: str, parts: tuple[str, ...], home: str, label: str, known: Known, labelled: bool = False
) -> None:
    """Raise InputError with one mistake of each kind; see `file_lists.list_parts`.

    `label`: the name of the data in messages; `labelled`: whether its format is one of `LABELLED`.
    Missing data is not checked.
    """
    key = (root, parts, home, label, labelled)
    if key not in known:
        known[key] = _find(root, parts, home, label, labelled) if os.path.isdir(Path(root)) else ()
    if known[key]:
        raise InputError(*known[key])


def _find(
    root: str, parts: tuple[str, ...], home: str, label: str, labelled: bool
) -> tuple[Diagnostic, ...]:
    found = list_parts(root, parts, home)
    problems = list(found.problems())
    if labelled:
        folder = os.path.relpath(root, home) if home else root
        problems += find_lost_labels([name for name, _ in found.files], folder)
    return tuple(Diagnostic(path=label, message=m, hint=hint) for m, hint in problems)
