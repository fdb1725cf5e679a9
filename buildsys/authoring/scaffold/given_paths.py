"""Paths of the command line: where they lead, and how a recipe writes them."""

import os
from pathlib import Path

from buildsys.errors import InputError
from buildsys.steps.lib.datasets.file_lists import is_utf8


def whole(root: Path, given: str) -> Path:
    """Return where a path leads, following links of its folders if it leaves `root`.

    A relative path starts at the root, as in recipes. Raises InputError for an invalid name.
    """
    if not is_utf8(given):
        message = "has a name that is not UTF-8: a recipe cannot contain it"
        raise InputError.at(ascii(given), message, "rename it")
    path = Path(os.path.abspath(root / given))
    return path if path.is_relative_to(root) else path.parent.resolve() / path.name


def inside(root: Path, given: str, home: str) -> str:
    """Return `given` as recipes write it, from the workspace's root.

    Raises InputError if it is outside. `home`: the folder to bring an outside file to.
    """
    path = whole(root, given)
    if not path.is_relative_to(root):
        message = "is outside the workspace; a recipe can only name files inside it"
        raise InputError.at(
            given, message, f"use --copy to copy it to {home}/, or --link to leave it there"
        )
    return path.relative_to(root).as_posix()
