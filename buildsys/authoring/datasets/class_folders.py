"""Datasets for classification without a description file: <split>/<class>/*.jpg as in Ultralytics'
layout, or <class>/*.jpg, which are all for training.
"""

import os
import re
from pathlib import Path

from buildsys.authoring.datasets.facts import DatasetFacts, prepare_splits
from buildsys.authoring.datasets.leftovers import is_own, is_visible
from buildsys.authoring.syntax.unicode_forms import hint_form, other_form
from buildsys.errors import InputError
from buildsys.steps.lib.datasets.file_lists import is_utf8, list_files
from buildsys.steps.lib.datasets.labels import is_class_name
from buildsys.steps.lib.datasets.split_names import SPLITS, find_splits
from buildsys.steps.lib.images.decoding import is_image

_LAYOUT = "a folder to classify contains train/<class>/*.jpg and val/<class>/*.jpg, or <class>/*.jpg alone"
_OF_SPLITS = frozenset(word for names in SPLITS.values() for word in names)
_PARTS = _OF_SPLITS | {"training", "testing", "images", "masks", "labels", "annotations"}
"""Words in the names of folders that are parts of a dataset, not classes."""


def read_class_folders(root: Path, label: str) -> DatasetFacts:
    """Return the dataset; its classes are the folders of train, or else of `root`, sorted by name.

    Raises InputError.
    """
    splits = list(find_splits("*", lambda path: os.path.isdir(root / path)))
    if "train" not in dict(splits):
        if not is_undivided(root):
            hint = "give the folder around it" if root.name in _OF_SPLITS else _LAYOUT
            raise InputError.at(label, "has no folder train", hint)
        _check_names(root, label)
        splits = [("train", ".")]
    train = root / dict(splits)["train"]
    classes = list_folders(train)
    if not classes:
        raise InputError.at(f"{label}/train", "has no folder for a class", _LAYOUT)
    for split, place in splits:
        for name in list_folders(root / place):
            if name not in classes:
                message = f"is a class of the {split} split, but not of train"
                hint = "the folders of train are the classes"
                if other_form(name, classes):
                    hint = hint_form(name, f"{label}/train")
                raise InputError.at(f"{label}/{place}/{name}", message, hint)
    for name in classes:
        if not is_class_name(name):
            message = "is the folder of a class, but its name cannot be printed on one line"
            hint = "rename it: labels.txt lists the classes, one on each line"
            raise InputError.at(_join(label, splits, name), message, hint)
        if not _has_image(train / name):
            message = "is the folder of a class, but has no image"
            raise InputError.at(_join(label, splits, name), message, "add images, or remove it")
    facts = DatasetFacts(
        root=str(root),
        names=tuple(classes),
        keypoints=0,
        keypoint_dims=0,
        sigmas=(),
        splits=(),
        format="folders",
        given=tuple((split, (place,)) for split, place in splits),
        absent=tuple(
            (split, tuple(name for name in classes if not _has_image(root / place / name)))
            for split, place in splits
        ),
    )
    return prepare_splits(facts)


def is_undivided(root: Path) -> bool:
    """Return whether a folder contains folders of images for classes, and is not a split itself.

    Beside them, there may be folders without images, or with the name of a part of a dataset:
    `read_class_folders` reports them. Folders with deeper folders alone may be datasets.
    """
    folders = list_folders(root)
    if len(folders) < 2 or root.name in _OF_SPLITS or _has_own_image(root):
        return False
    filled = [name for name in folders if _has_own_image(root / name)]
    if all(map(_is_part, filled)):
        return False
    bare = [list(list_files(root / name)) for name in folders if name not in filled]
    if len(filled) < 2:  # one folder of images beside a folder of other files
        return not any(is_visible(Path(name).name) for names in bare for name in names)
    return not any(is_image(Path(name)) for names in bare for name in names)


def list_folders(folder: Path) -> list[str]:
    """Return the folders in a folder, sorted, without leftovers."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if is_visible(e.name) and is_utf8(e.name)]
        return sorted(name for name in names if os.path.isdir(folder / name))
    except OSError:
        return []


def watched_folders(root: Path) -> set[Path]:
    """Return the folders whose appearance, removal or first image changes the dataset."""
    found = {root, *(root / name for name in list_folders(root))}
    for place in [name for names in SPLITS.values() for name in names]:
        found.add(root / place)
        found |= {root / place / name for name in list_folders(root / place)}
    return found


def find_root(folder: Path) -> Path | None:
    """Return the one folder of an unpacked archive that contains train.

    Returns None unless there is exactly one.
    """
    found = {path.parent for path in folder.glob("**/train") if os.path.isdir(path)}
    found = {path for path in found if is_own(path.relative_to(folder))}
    outer = [path for path in found if not found & set(path.parents)]
    return outer[0] if len(outer) == 1 else None


def _check_names(root: Path, label: str) -> None:
    """Raise InputError for a folder that has the name of a part of a dataset, among classes."""
    for name in filter(_is_part, list_folders(root)):
        message = "is named like a part of a dataset, not like a class"
        hint = f"if it is a class, move the folders of all classes into {label}/train"
        raise InputError.at(_join(label, [("train", ".")], name), message, hint)


def _is_part(name: str) -> bool:
    """Return whether a word of a folder's name is in `_PARTS`: images_val, JPEGImages, test2017."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    return not _PARTS.isdisjoint(word.lower() for word in words)


def _join(label: str, splits: list[tuple[str, str]], name: str) -> str:
    return os.path.normpath(f"{label}/{dict(splits)['train']}/{name}")


def _has_own_image(folder: Path) -> bool:
    """Return whether a folder contains an image, apart from deeper folders."""
    try:
        with os.scandir(folder) as entries:
            return any(is_image(Path(entry.name)) for entry in entries)
    except OSError:
        return False


def _has_image(folder: Path) -> bool:
    return any(is_image(Path(name)) for name in list_files(folder))
