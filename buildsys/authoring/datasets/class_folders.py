"""Datasets for classification without a description file: <split>/<class>/*.jpg as in Ultralytics'
layout, or <class>/*.jpg, which are all for training.
"""

import os
from pathlib import Path

from buildsys.authoring.datasets.facts import DatasetFacts, prepare_splits
from buildsys.authoring.datasets.leftovers import is_own, is_visible
from buildsys.authoring.syntax.unicode_forms import hint_form, other_form
from buildsys.errors import InputError
from buildsys.steps.lib.datasets.file_lists import is_utf8, list_files
from buildsys.steps.lib.datasets.images import is_image
from buildsys.steps.lib.datasets.labels import is_class_name
from buildsys.steps.lib.datasets.split_names import SPLITS, find_splits

_LAYOUT = "a folder to classify contains train/<class>/*.jpg, and val/<class>/*.jpg"


def read_class_folders(root: Path, label: str) -> DatasetFacts:
    """Return the dataset; its classes are the folders of train, or else of `root`, sorted by name.

    Raises InputError.
    """
    splits = list(find_splits("*", lambda path: os.path.isdir(root / path)))
    if "train" not in dict(splits):
        if not is_undivided(root):
            raise InputError.at(label, "has no folder train", _LAYOUT)
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
    """Return whether a folder contains only folders of images, at least two, and is no split itself.

    Folders with deeper folders alone may be datasets themselves.
    """
    words = {word for names in SPLITS.values() for word in names}
    folders = list_folders(root)
    if len(folders) < 2 or not words.isdisjoint([root.name, *folders]):
        return False
    return not _has_own_image(root) and all(_has_own_image(root / name) for name in folders)


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
