"""Derives a whole `dataset` block from one annotation file in COCO format: its images and
splits.
"""

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.coco_contents import Contents, read_contents
from buildsys.authoring.datasets.coco_sets import SHAPES, find_place, read_sets
from buildsys.authoring.datasets.found_data import LabelledData, labelled
from buildsys.authoring.datasets.leftovers import is_visible
from buildsys.authoring.datasets.name_forms import explain_forms
from buildsys.authoring.syntax.scalars import scalar
from buildsys.errors import Diagnostic, InputError
from buildsys.files import read_regular
from buildsys.steps.lib.datasets.base_names import LINE, base_name, index
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats.coco_file import SLASHES, parse
from buildsys.steps.lib.datasets.split_names import SPLITS, spellings

_PAIR = ("instances", "person_keypoints")
"""The first words of COCO's files with boxes and masks, and with keypoints."""


def choose_sheet(folder: Path, names: list[str], task: str) -> str:
    """Return the annotation file to use of those in a folder, or "" without any.

    That is the first with boxes, of train if there is one; for pose the first with keypoints among
    those of the same split. COCO's own folder also has captions, and the people of `instances` with
    their keypoints.
    """
    ordered = sorted(names, key=lambda name: (split_of(name) != "train", _rank(name, task), name))
    first = next((name for name in ordered if _is_fit(folder / name)), "")
    if first and task == "pose":
        same = (name for name in ordered if split_of(name) == split_of(first))
        return next((name for name in same if _has_keypoints(folder / name)), first)
    return first or next(iter(ordered), "")


def find_counterpart(path: Path) -> Path | None:
    """Return COCO's file with keypoints for the images of `instances`, or the other way round."""
    for kind, other in (_PAIR, _PAIR[::-1]):
        if path.name.startswith(f"{kind}_"):
            found = path.with_name(path.name.replace(kind, other, 1))
            return found if os.path.isfile(found) else None
    return None


def list_sheets(folder: Path) -> list[str]:
    """Return the names of the JSON files in a folder that may be annotation files, sorted."""
    names = (path.name for path in folder.glob("*.[jJ][sS][oO][nN]"))
    return sorted(filter(is_visible, names))


def _is_fit(path: Path) -> bool:
    """Return whether a file has boxes, or had them before it was damaged, by its name: no other file
    takes the place of a damaged `train.json`, which is a mistake to report.
    """
    try:
        contents = read_contents(path, path.name)
    except InputError:
        contents = Contents(is_object=False)
    return not contents.without_boxes if contents.is_object else bool(split_of(path.name))


def _has_keypoints(path: Path) -> bool:
    """Return whether a file has boxes, and keypoints in its categories."""
    try:
        contents = read_contents(path, path.name)
    except InputError:
        return False
    return contents.keypoints and not contents.without_boxes


def _rank(name: str, task: str) -> int:
    """Return which of the files for different tasks comes first; keypoints alone are the last."""
    boxes, keypoints = _PAIR
    order = (keypoints, boxes) if task == "pose" else (boxes, "", keypoints)
    stem = PurePosixPath(name).stem.lower()
    kind = next((kind for kind in (keypoints, boxes) if stem.startswith(kind)), "")
    return order.index(kind) if kind in order else len(order)


def guess_sets(root: Path, data: str, task: str) -> LabelledData:
    """Return the data of an annotation file; `data`: its path from the workspace's root.

    `task` empty: the task that the labels are for. Raises InputError if it is not an annotation
    file, or its images are not found.
    """
    contents = read_contents(root / data, data)
    if contents.captions:
        message = "has annotations without categories and boxes, such as captions"
        raise InputError.at(data, message, _suggest_sheet(root, data, task))
    layout_task = _choose_task(contents, task)
    if layout_task not in SHAPES:
        message = f"is in COCO format, which has no labels for task {layout_task}"
        raise InputError.at(data, message)
    own = split_of(data) or "train"
    files = {own: data} | {
        split: other
        for split in SPLITS
        if split != own and (other := _other(root, data, own, split))
    }
    places = {}
    for split, file in files.items():
        try:
            places[split] = _images(root, file, split)
        except InputError:  # a split that was exported without its images
            if split in (own, "val"):
                raise  # no random share of train in the place of val
            if split == "train" and not read_contents(root / file, file).file_names:
                raise  # its annotation file is broken
    ordered = {split: (files[split], places[split][0]) for split in SPLITS if split in places}
    match = any(base_names for _, base_names in places.values())
    block = Dataset.model_validate(
        {
            "format": "coco",
            "splits": {s: {"annotations": a, "images": i} for s, (a, i) in ordered.items()},
            "match": "base-name" if match else None,
        }
    )
    found = read_sets(find_place(block, root), layout_task, {})
    text = ", ".join(
        f"{split}: {{annotations: {scalar(a)}, images: {scalar(i)}}}"
        for split, (a, i) in ordered.items()
    )
    keys = ["format: coco", f"splits: {{{text}}}"]
    keys += [f"{LINE}   # the last part of `file_name` names the image"] if match else []
    return labelled(found.facts, tuple(keys), found.missing_parts)


def choose_task(path: Path, label: str, task: str) -> str:
    """Return the task for an annotation file.

    That is `task`; if it is empty or pose: pose if the categories have keypoints, otherwise detect
    (a pose network can start from boxes). Raises InputError.
    """
    return _choose_task(read_contents(path, label), task)


def _choose_task(contents: Contents, task: str) -> str:
    if task not in ("", "pose"):
        return task
    return "pose" if contents.keypoints else "detect"


def _suggest_sheet(root: Path, data: str, task: str) -> str:
    """Return what to do about an annotation file without boxes."""
    folder = (root / data).parent
    other = choose_sheet(folder, list_sheets(folder), task)
    if other and _is_fit(folder / other):
        return f"give {PurePosixPath(data).with_name(other)}"
    return "give the annotation file that has boxes"


def split_of(path: str) -> str:
    """Return the split in a file's name, or else in the nearest folder's name; "" if neither has
    one.

    A folder `annotations` names no split; its parent may.
    """
    name = PurePosixPath(path)
    folders = [folder.name for folder in name.parents if folder.name.lower() != "annotations"]
    for part in (name.stem, *folders[:1]):
        words = re.findall("[a-z]+", part.lower())
        found = next((s for s, own in SPLITS.items() if not set(own).isdisjoint(words)), "")
        if found:
            return found
    return ""


def _other(root: Path, data: str, own: str, split: str) -> str:
    """Return the annotation file of another split; "" if it does not exist.

    It is at the same path with the split's word replaced, once or everywhere.
    """
    word = "|".join(SPLITS[own])
    found = list(re.finditer(f"(?<![a-zA-Z])({word})(?![a-zA-Z])", data, re.IGNORECASE))
    for marks in (found[-1:], found):
        for new in spellings(split):
            path = data
            for mark in reversed(marks):
                path = path[: mark.start()] + new + path[mark.end() :]
            if path != data and os.path.isfile(root / path):
                return path
    return ""


def _images(root: Path, data: str, split: str) -> tuple[str, bool]:
    """Return the folder with an annotation file's images, and whether they are found by base name.

    Raises InputError.
    """
    written = read_contents(root / data, data).file_names
    if not written:
        _, mistakes = parse(read_regular(root / data), data, "box")
        first = mistakes[0]
        raise InputError.at(data, first.message, first.hint, line=first.line, column=first.column)
    home = Path(data).parent
    names = [*spellings(split), re.split("[_-]", Path(data).stem)[-1]]
    folders = [home, home.parent]
    folders += [base / "images" for base in (home, home.parent)]
    folders += [base / name for base in tuple(folders) for name in names]
    for folder in folders:
        if all(os.path.isfile(root / folder / posixpath.normpath(name)) for name in written):
            return folder.as_posix(), False
    for folder in folders:
        files = index(list_files(root / folder))
        found = [files.get(base_name(name), []) for name in written]
        if all(len(paths) == 1 for paths in found):
            whole = _common_start([path for (path,) in found], written)
            if whole is not None:
                return (folder / whole).as_posix(), False
            below = os.path.commonpath([os.path.dirname(path) for (path,) in found])
            return (folder / below).as_posix(), True
    for folder in folders:
        if os.path.isfile(root / folder / written[0]):
            return folder.as_posix(), False
    message = f"its images were not found: no usual folder has {written[0]}"
    hint = "write the recipe's `splits` yourself: {train: {annotations: …, images: …}}"
    windows = [name for name in written if "\\" in name]
    if windows:
        message = (
            f"its images were not found: {len(windows)} of {len(written)} `file_name`s have a backslash in"
            f" them, the first is {windows[0]}"
        )
        hint = SLASHES
    mistake = Diagnostic(path=data, message=message, hint=hint)
    for folder in folders:
        present = list_files(root / folder)
        (mistake,) = explain_forms((mistake,), written[:1], present, folder.as_posix())
    raise InputError(mistake)


def _common_start(paths: Sequence[str], written: Sequence[str]) -> str | None:
    """Return the folder from which each written name leads to its path; None if there is none."""
    starts = set()
    for path, name in zip(paths, written, strict=True):
        end = f"/{posixpath.normpath(name)}"
        if not f"/{path}".endswith(end):
            return None
        starts.add(f"/{path}".removesuffix(end).lstrip("/"))
    return starts.pop() if len(starts) == 1 else None
