"""Finds the folder from which every `file_name` of an annotation file leads to an image, if the
recipe names another folder above or below it.
"""

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from buildsys.authoring.datasets.coco_sets import Place
from buildsys.authoring.datasets.name_forms import explain_forms
from buildsys.authoring.syntax.scalars import scalar
from buildsys.authoring.syntax.scope import Scope
from buildsys.errors import Diagnostic, InputError
from buildsys.files import read_regular
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats.coco_file import file_names


def correct_folders(scope: Scope, place: Place, error: InputError) -> InputError:
    """Return the error, with one mistake at the line of `images` instead of those of an annotation
    file whose images are all in another folder, and a hint at names in another Unicode form.
    """
    error = _explain_names(place, error)
    if place.base_names:
        return error
    labels, wrong = dict(place.labels), dict[str, Diagnostic]()
    for split, file, images in place.splits:
        other = _other_folder(place.root, file, images, labels[images])
        if other:
            message = (
                f"{labels[images]} is not the folder that `file_name`s of {labels[file]} start at"
            )
            hint = f"write `images: {scalar(other)}`: every image is there"
            at = ("dataset", "splits", split, "images")
            wrong[labels[file]] = scope.locate(at, message, hint)
    kept = [problem for problem in error.diagnostics if problem.path not in wrong]
    return InputError(*wrong.values(), *kept)


def _explain_names(place: Place, error: InputError) -> InputError:
    labels, found = dict(place.labels), error.diagnostics
    for _, file, images in place.splits:
        own = [one for one in found if one.path == labels[file]]
        names = _file_names(place.root / file) if own else ()
        kept = [one for one in found if one.path != labels[file]]
        present = list_files(place.root / images)
        found = (*kept, *explain_forms(own, names, present, labels[images]))
    return InputError(*found)


def _file_names(path: Path) -> tuple[str, ...]:
    try:
        return file_names(read_regular(path))
    except OSError:
        return ()


def _other_folder(root: Path, file: str, images: str, written: str) -> str:
    """Return the only other folder with every image, in the form in which the author wrote
    `images`; empty if there is none, or several.
    """
    names = [posixpath.normpath(name) for name in _file_names(root / file)]
    if not names or any(name.startswith(("/", "..")) for name in names):
        return ""
    home = root / images
    if all(os.path.isfile(home / name) for name in names):
        return ""
    folders = [*_above(written), *_below(home, names[0])]
    found = [f for f in folders if all(os.path.isfile(home / f / name) for name in names)]
    return os.path.normpath(os.path.join(written, found[0])) if len(found) == 1 else ""


def _above(written: str) -> Iterator[str]:
    """Yield the folders above a written path that it names."""
    for number in range(1, len(Path(os.path.normpath(written)).parts)):
        yield "/".join([".."] * number)


def _below(home: Path, name: str) -> list[str]:
    """Return the folders below `home` in which this file is."""
    ending = f"/{name}"
    return [path.removesuffix(ending) for path in list_files(home) if path.endswith(ending)]
