"""Checks that every file of given data can be read: valid names, and links that stay inside."""

import os
from collections.abc import Hashable
from pathlib import Path

from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets.file_lists import list_parts

Known = dict[Hashable, tuple[Diagnostic, ...]]
"""Results of this run: the builds of a recipe share their data."""


def check_tree(root: str, parts: tuple[str, ...], home: str, label: str, known: Known) -> None:
    """Raise InputError with one mistake of each kind; see `file_lists.list_parts`.

    `label`: the name of the data in messages. Missing data is not checked.
    """
    key = (root, parts, home, label)
    if key not in known:
        found = list_parts(root, parts, home).problems() if os.path.isdir(Path(root)) else ()
        known[key] = tuple(Diagnostic(path=label, message=m, hint=hint) for m, hint in found)
    if known[key]:
        raise InputError(*known[key])
