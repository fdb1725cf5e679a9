"""Derives a whole `dataset` block from a file or folder that a person gives as data."""

import dataclasses
import glob
import os
from pathlib import Path

from buildsys.authoring.datasets import data_yaml, folder_sets
from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.class_folders import is_undivided, list_folders, read_class_folders
from buildsys.authoring.datasets.coco_guess import choose_sheet, guess_sets, list_sheets
from buildsys.authoring.datasets.found_data import Images, LabelledData, labelled
from buildsys.authoring.datasets.leftovers import is_visible
from buildsys.authoring.datasets.trees import check_tree
from buildsys.authoring.datasets.unnamed_labels import describe_unnamed
from buildsys.authoring.syntax.scalars import scalar
from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.errors import InputError
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats import darknet_format, voc_format
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.images.decoding import is_image

_KINDS = (
    "a data.yaml of Ultralytics' kind, COCO's JSON, Pascal VOC's folders (Annotations, JPEGImages),"
    " darknet's obj.data or classes.txt, a folder for each class (train/<class>/ or <class>/), or images alone"
)
_NOTHING = "has no data in a format that buildsys reads"


def guess_data(root: Path, data: str, task: str) -> LabelledData | Images:
    """Return the data at `data`: a file or folder, absolute or from the workspace's root.

    Paths of the block and of messages are written alike. `task` empty: the task that the labels are
    for. Raises InputError if it does not exist, has no supported format, or has mistakes.
    """
    path = root / data
    if not os.path.exists(path):
        raise InputError.at(data, "does not exist", hint_missing(path, data))
    if os.path.isdir(path):
        return _guess_folder(root, data, task)
    name = path.name.lower()
    if name.endswith(".json"):
        return guess_sets(root, data, task)
    if name.endswith(".data"):
        return _read_folder(root, data, "darknet")
    if name.endswith(".xml"):
        inner = path.parent.name.lower() == "annotations"
        return _read_folder(root, _called(root, data, path.parents[1 if inner else 0]), "voc")
    if path.name in darknet_format.NAMES:
        return _read_folder(root, _called(root, data, path.parent), "darknet")
    if is_image(path):
        message, hint = "is one image", "give the folder that contains it"
        raise InputError.at(data, message, hint)
    try:
        return _read_yaml(root, data)
    except InputError:
        if path.suffix in data_yaml.SUFFIXES:
            raise
        raise InputError.at(data, _NOTHING, f"there are: {_KINDS}") from None


def guess_classes(root: Path, data: str) -> LabelledData | None:
    """Return the data of a folder that has a folder of images for each class, but no train; None if
    it has not. Nothing else distinguishes it from images without labels.

    Raises InputError for a class name that cannot be used.
    """
    if not os.path.isdir(root / data) or not is_undivided(root / data):
        return None
    facts = read_class_folders(root / data, data)
    return labelled(facts, ("format: ultralytics", f"path: {scalar(data)}"), ())


def suggest_line(root: Path, data: str) -> str:
    """Return the line of a recipe that uses the data at `data`; empty if its format is unknown."""
    try:
        found = guess_data(root, data, "")
    except (InputError, OSError):
        unnamed = describe_unnamed(root / data, data)
        return unnamed[1] if unnamed is not None else ""
    if isinstance(found, Images):
        images = f"quantization: {{calibration: {{images: {scalar(found.pattern)}}}}}"
        return f"images without labels calibrate: `{images}`"
    return f"write `{found.line}`"


def _guess_folder(root: Path, data: str, task: str) -> LabelledData | Images:
    """Try the formats in order of certainty; an XML file alone is the weakest sign."""
    folder = root / data
    for name in data_yaml.NAMES:
        if os.path.isfile(folder / name):
            return _read_yaml(root, _join(data, name))
    if folder_sets.is_voc_part(folder):
        return _read_folder(root, _called(root, data, folder.parent), "voc")
    if voc_format.is_certain(folder):
        return _read_voc(root, data)
    lists = [path for path in folder.glob("*.data") if is_visible(path.name)]
    if lists or not isinstance(folder_sets.find_darknet(folder), Finding):
        return _read_folder(root, data, "darknet")
    sheet = choose_sheet(folder, _annotation_files(folder), task)
    if sheet:
        return guess_sets(root, _join(data, sheet), task)
    if (unnamed := describe_unnamed(folder, data)) is not None:
        raise InputError.at(data, *unnamed)
    if list_folders(folder / "train"):
        facts = read_class_folders(folder, data)
        return labelled(facts, ("format: ultralytics", f"path: {scalar(data)}"), ())
    if voc_format.has_annotation(folder):
        return _read_voc(root, data)
    return _find_images(folder, data)


def _read_voc(root: Path, data: str) -> LabelledData:
    home = folder_sets.find_voc(root / data)
    if home is None:
        message = "has several datasets in Pascal VOC format"
        raise InputError.at(data, message, "give the folder of one of them")
    return _read_folder(root, _called(root, data, home), "voc")


def _read_yaml(root: Path, data: str) -> LabelledData:
    inside = None if os.path.isabs(data) else root
    found = data_yaml.read_dataset(root / data, data, inside)
    keys = ("format: ultralytics", f"path: {scalar(data)}")
    known = labelled(found.facts, keys, found.missing_parts)
    return dataclasses.replace(known, outlines=found.outlines)


def _read_folder(root: Path, data: str, known: str) -> LabelledData:
    block = Dataset.model_validate({"format": known, "path": data})
    folder = str(folder_sets.root_of(root / data))
    check_tree(folder, (".",), "" if os.path.isabs(data) else str(root), data, {})
    found = folder_sets.read_folder(root / data, data, block, {})
    keys = [f"format: {known}", f"path: {scalar(data)}"]
    if known == "voc":
        names = ", ".join(map(scalar, found.facts.names))
        keys.append(f"classes: [{names}]   # in this order: the format defines none")
    return labelled(found.facts, tuple(keys), found.missing_parts)


def _annotation_files(folder: Path) -> list[str]:
    """Return JSON files in COCO's usual places."""
    places = ("", "annotations/", "train/")
    return [f"{place}{name}" for place in places for name in list_sheets(folder / place)]


def _find_images(folder: Path, data: str) -> Images:
    """Return images without labels, which can calibrate a network."""
    files = tuple(name for name in list_files(folder) if is_image(Path(name)))
    if not files:
        raise InputError.at(data, _NOTHING, f"there are: {_KINDS}")
    endings = {Path(name).suffix for name in files}
    ending = endings.pop() if len(endings) == 1 else ""
    return Images(pattern=_join(glob.escape(data), f"**/*{ending}"), files=files)


def _called(root: Path, data: str, path: Path) -> str:
    """Return a path beside or around `data`, written like `data`."""
    return path.as_posix() if os.path.isabs(data) else os.path.relpath(path, root)


def _join(folder: str, name: str) -> str:
    return name if folder in ("", ".") else f"{folder.rstrip('/')}/{name}"
