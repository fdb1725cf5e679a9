"""Paths that people write stay inside the workspace, so that a recipe means the same everywhere.

What a digest pins may lie behind a link that leads out: its content is verified. Datasets elsewhere
on the machine have a name in buildsys.yaml, and nothing here is asked of those.
"""

import os
import re
from pathlib import Path

from buildsys.authoring.document import Document, KeyPath
from buildsys.authoring.recipe import Recipe
from buildsys.authoring.validation import Locate
from buildsys.errors import Diagnostic, InputError, shorten

NAMES = "buildsys.yaml"
"""The file whose paths may lead anywhere."""

_RELATIVE = "write it from the workspace's root"
_COPIED = "copy it here; only a dataset that buildsys.yaml names may lie elsewhere"
_BY_NAME = "bring it here, or give the dataset a name in buildsys.yaml"
_LINKED = "bring it here, or put a link to it here: its digest is checked"
_PINNED = "bring it here, or pin its sha256"
_WITHIN = "it starts at the folder of the file that it is written in"


def check_inside(
    folder: Path, path: str, *, pinned: bool = False, start: str = "", hint: str = _RELATIVE,
    name: str = "the workspace",
) -> tuple[str, str] | None:  # fmt: skip
    """What is wrong with a path and what to do, or None where it stays inside `folder`.

    `path` (it need not exist) starts at `start`, which is itself relative to `folder`; `hint` is
    what to do where it leads out; `name` is what messages call the folder.
    """
    shown = f"the path `{shorten(path)}`"
    if not path.strip():
        return "the path is empty", "name a file, or leave the key out"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return f"{shown} has a control character in it", "was a backslash meant? Folders take `/`"
    if "\\" in path:
        return f"{shown} has a backslash in it", "folders are separated by `/` on every machine"
    if path.startswith("~"):
        return f"{shown} starts in a home folder, which is another one elsewhere", hint
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return f"{shown} is absolute: it means nothing on another machine", hint
    whole = os.path.normpath(os.path.join(start, path))
    if whole.split("/")[0] == "..":
        return f"{shown} leads out of {name}", hint
    if not pinned and not _stays(folder, whole):
        copied = _COPIED if hint in (_RELATIVE, _WITHIN) else hint
        return f"{shown} leads out of {name} by a symbolic link", copied
    return None


def check_url(url: str) -> tuple[str, str] | None:
    """What is wrong with the address of a remote file, or None."""
    if not url.startswith(("https://", "http://")):
        return f"`{shorten(url)}` is no address of a server", "https://…; a local file is a `path`"
    if not url.isascii() or any(letter <= " " or letter in '"<>\\^`{|}' for letter in url):
        return (
            f"`{shorten(url)}` has characters that an address cannot have",
            "write %20 for a space",
        )
    return None


def check_paths(workspace: Path, recipe: Recipe, locate: Locate) -> list[Diagnostic]:
    """Every path of a recipe that leads elsewhere, at its place."""
    weights, calibration = recipe.source.weights, recipe.quantization.calibration
    pinned = weights.sha256 is not None
    wanted: list[tuple[KeyPath, str | None, str]] = [
        (("source", "weights", "path"), weights.path, _LINKED if pinned else _PINNED),
        (("dataset", "path"), recipe.dataset.path if recipe.dataset else None, _BY_NAME),
        *_sheets(recipe),
        (
            ("quantization", "calibration", "images"),
            calibration.images if calibration else None,
            _RELATIVE,
        ),
    ]
    if recipe.firmware is not None and recipe.firmware.endswith(".yaml"):
        wanted.append((("firmware",), recipe.firmware, _RELATIVE))
    problems = [
        locate(at, *wrong)
        for at, url in (
            (("source", "weights", "url"), weights.url),
            (("dataset", "url"), getattr(recipe.dataset, "url", None)),
        )
        if isinstance(url, str) and (wrong := check_url(url)) is not None
    ]
    for at, path, hint in wanted:
        is_pinned = pinned and at[0] == "source"
        wrong = (
            check_inside(workspace, path, pinned=is_pinned, hint=hint) if path is not None else None
        )
        if wrong is not None:
            problems.append(locate(at, *wrong))
    return [problem for problem in problems if problem.path != NAMES]


def _sheets(recipe: Recipe) -> list[tuple[KeyPath, str | None, str]]:
    """The annotation files and folders of a dataset in COCO format."""
    splits = recipe.dataset.splits if recipe.dataset else None
    return [
        (("dataset", "splits", name, key), getattr(sheet, key), _BY_NAME)
        for name, sheet in (splits.given if splits else ())
        for key in ("annotations", "images")
    ]


def check_dataset(folder: Path, path: Path, document: Document) -> None:
    """What a data.yaml names lies inside `folder`, as `path` itself does. Raises InputError."""
    start = os.path.relpath(path.parent, folder)
    root = document.data.get("path")
    if root is not None and root != "":
        _demand(folder, str(root), start, ("path",), document)
        start = os.path.join(start, str(root))
    for split in ("train", "val", "test"):
        entry = document.data.get(split)
        for index, place in enumerate(entry if isinstance(entry, list) else [entry]):
            if place is not None:
                at = (split, index) if isinstance(entry, list) else (split,)
                _demand(folder, str(place), start, at, document)


def check_config(folder: Path, config: str, shipped: Path) -> tuple[str, str] | None:
    """What is wrong with the path of a Vela configuration, which starts at a target's folder."""
    if folder == shipped:
        return check_inside(folder, config, hint=_WITHIN, name="the shipped targets")
    return check_inside(folder.parent, config, start=folder.name, hint=_WITHIN)


def _demand(folder: Path, path: str, start: str, at: KeyPath, document: Document) -> None:
    hint = "leave it out: paths start at this file's folder" if at == ("path",) else _WITHIN
    wrong = check_inside(folder, path, start=start, hint=hint)
    if wrong is not None:
        raise InputError(document.diagnose(at, *wrong))


def _stays(folder: Path, path: str) -> bool:
    """Whether a path is still inside when its links are followed."""
    root = os.path.realpath(folder)
    real = os.path.realpath(os.path.join(root, path))
    return real == root or real.startswith(root.rstrip("/") + "/")
