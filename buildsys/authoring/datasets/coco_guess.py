"""One annotation file in COCO format -> a whole `dataset` block: its pictures and the other splits."""

import contextlib
import dataclasses
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.coco_sets import find_place, read_sets
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.syntax.scalars import scalar
from buildsys.errors import InputError
from buildsys.steps import read_coco
from buildsys.steps.lib.datasets import prepared
from buildsys.steps.lib.datasets.base_names import LINE, base_name, index
from buildsys.steps.lib.datasets.coco_file import file_names, has_keypoints, parse
from buildsys.steps.lib.datasets.file_lists import list_files

_WORDS = {"train": ("train",), "val": ("valid", "val"), "test": ("test",)}
"""How files and folders call a split; the longer word first."""
SHARE = "{val: 0.2, seed: 0}"
"""The `split` of what is not split."""


@dataclass(frozen=True, kw_only=True)
class SetsGuess:
    """What was found: the keys of the block as they stand in a recipe, and what the data says."""

    keys: tuple[str, ...]
    facts: DatasetFacts


def guess_sets(root: Path, data: str, task: str) -> SetsGuess:
    """`data`: an annotation file, from the workspace's root; `task` empty: what the labels are for.

    Raises InputError where the file is none, or its pictures are not found.
    """
    fixed = task not in (
        "",
        "pose",
    )  # keypoints are not in every file that a pose network starts on
    layout_task = task if fixed else _task_of(root / data, data)
    if layout_task not in read_coco.SHAPES:
        message = f"is in COCO format, which has no labels for task {layout_task}"
        raise InputError.at(data, message)
    own = next((split for split in _WORDS if _mentions(data, split)), "train")
    files = {own: data} | {
        split: other
        for split in _WORDS
        if split != own and (other := _other(root, data, own, split))
    }
    places = {own: _images(root, data, own)}
    for split, file in files.items():
        with contextlib.suppress(InputError):  # a split that was exported without its images
            places[split] = _images(root, file, split)
    ordered = {split: (files[split], places[split][0]) for split in _WORDS if split in places}
    match = any(base_names for _, base_names in places.values())
    block = Dataset.model_validate(
        {
            "format": "coco",
            "splits": {s: {"annotations": a, "images": i} for s, (a, i) in ordered.items()},
            "match": "base-name" if match else None,
        }
    )
    facts = read_sets(find_place(block, root), layout_task, {}).facts
    text = ", ".join(
        f"{split}: {{annotations: {scalar(a)}, images: {scalar(i)}}}"
        for split, (a, i) in ordered.items()
    )
    shared = ""
    if tuple(ordered) == ("train",):
        shared = f"split: {SHARE}"
        facts = dataclasses.replace(facts, splits=prepared.places(("train", "val")))
    keys = ["format: coco", f"splits: {{{text}}}"]
    keys += [f"{LINE}   # `file_name` is no path from there; its last part is"] if match else []
    keys += [shared] if shared else []
    return SetsGuess(keys=tuple(keys), facts=facts)


def _task_of(path: Path, label: str) -> str:
    """pose where the categories have keypoints, else detect. Raises InputError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError.at(label, f"cannot be read: {error.strerror}") from error
    return "pose" if has_keypoints(content) else "detect"


def _mentions(path: str, split: str) -> bool:
    return any(word in path.lower() for word in _WORDS[split])


def _other(root: Path, data: str, own: str, split: str) -> str:
    """The file of another split: the same path with that split's word; "" where there is none."""
    for word in _WORDS[own]:
        for new in _WORDS[split]:
            place, _, end = data.rpartition(word)
            if place + end != data and (root / f"{place}{new}{end}").is_file():
                return f"{place}{new}{end}"
    return ""


def _images(root: Path, data: str, split: str) -> tuple[str, bool]:
    """The folder that holds the images of an annotation file, and whether base names lead to them.

    Raises InputError.
    """
    content = (root / data).read_bytes()
    written = file_names(content)
    if not written:
        _, mistakes = parse(content, data, "box")
        first = mistakes[0]
        raise InputError.at(data, first.message, first.hint, line=first.line, column=first.column)
    home = Path(data).parent
    names = [*_WORDS[split], re.split("[_-]", Path(data).stem)[-1], split]
    folders = [home, home.parent]
    folders += [base / "images" for base in (home, home.parent)]
    folders += [base / name for base in tuple(folders) for name in names]
    for folder in folders:
        if all((root / folder / posixpath.normpath(name)).is_file() for name in written):
            return folder.as_posix(), False
    for folder in folders:
        files = index(list_files(root / folder))
        found = [files.get(base_name(name), []) for name in written]
        if all(len(paths) == 1 for paths in found):
            below = os.path.commonpath([os.path.dirname(path) for (path,) in found])
            return (folder / below).as_posix(), True
    for folder in folders:
        if (root / folder / written[0]).is_file():
            return folder.as_posix(), False
    message = f"its pictures were not found: {written[0]} is in none of the usual folders"
    hint = "write the recipe's `splits` yourself: {train: {annotations: …, images: …}}"
    raise InputError.at(data, message, hint)
