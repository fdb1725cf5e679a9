"""The splits of a dataset in COCO format, each with its pictures, and what is wrong between them.

Only the standard library, like the parsing: `buildsys check` reports these mistakes before any work.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.datasets.coco_file import AnnotationFile, ImageEntry, Mistake, parse
from buildsys.steps.lib.datasets.pixel_boxes import show
from buildsys.steps.lib.runtime.progress import fail

SHOWN = 20
"""Mistakes that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class CocoSplit:
    """One split: its annotation file, and the folder that its `file_name`s start at; both relative
    to the dataset's root.
    """

    name: str
    annotations: str
    images: str


def read_splits(
    root: Path, splits: Iterable[CocoSplit], shape: str, labels: dict[str, str] | None = None
) -> tuple[dict[str, AnnotationFile], list[Mistake]]:
    """The sheets of all splits by name; a split with a mistake has none.

    `shape`: box | outline | keypoints, what is wanted of an annotation; `labels`: how messages call
    the files and folders, by their paths below `root`.
    """
    called = labels or {}
    sheets: dict[str, AnnotationFile] = {}
    mistakes: list[Mistake] = []
    chosen = tuple(splits)
    for split in chosen:
        label = called.get(split.annotations, split.annotations)
        sheet, found = _read_file(root / split.annotations, label, shape)
        if sheet is not None:
            folder = called.get(split.images, split.images)
            found += _find_missing(root / split.images, sheet, label, folder)
        if sheet is not None and not found:
            sheets[split.name] = sheet
        mistakes += found
    kept = [split for split in chosen if split.name in sheets]
    mistakes += _compare_categories(kept, sheets, called) + _find_overlap(kept, sheets, called)
    return sheets, mistakes


def shorten(mistakes: list[Mistake]) -> list[Mistake]:
    """The first ones, and how many more there are."""
    more = len(mistakes) - SHOWN
    if more <= 0:
        return mistakes
    last = max(mistake.path for mistake in mistakes[:SHOWN])
    return [*mistakes[:SHOWN], Mistake(path=last, message=f"… and {more} more mistakes")]


def refuse(mistakes: list[Mistake]) -> None:
    """End the step where there is any."""
    if mistakes:
        number = "one mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        fail("\n".join([f"the dataset has {number}:", *map(str, shorten(mistakes))]))


def _read_file(path: Path, label: str, shape: str) -> tuple[AnnotationFile | None, list[Mistake]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return None, [Mistake(path=label, message=f"cannot be read: {error.strerror}")]
    return parse(data, label, shape)


def _find_missing(folder: Path, sheet: AnnotationFile, label: str, called: str) -> list[Mistake]:
    """Pictures that are not in their folder; one sentence where that holds for all."""
    files = list_files(folder)
    missing = [picture for picture in sheet.images if picture.name not in files]
    hint = "`file_name` starts at the folder that `images` names"
    if missing and len(missing) == len(sheet.images):
        first = show(missing[0].name)
        message = f"none of its {len(missing)} pictures is in {called}, the first is {first}"
        return [Mistake(path=label, message=message, hint=hint)]
    return [
        Mistake(path=label, message=f"image {p.id}: {show(p.name)} is not in {called}", hint=hint)
        for p in missing
    ]


def list_files(folder: Path) -> set[str]:
    """Every file below a folder, from it, with slashes."""
    found = set()
    for place, _, names in os.walk(folder, followlinks=True):
        start = os.path.relpath(place, folder)
        found |= {name if start == "." else f"{start}/{name}" for name in names}
    return found


def _compare_categories(
    splits: list[CocoSplit], sheets: dict[str, AnnotationFile], called: dict[str, str]
) -> list[Mistake]:
    """Splits whose categories are not those of the first: one class index would mean two things."""
    mistakes = []
    for split in splits[1:]:
        first, other = sheets[splits[0].name].layout, sheets[split.name].layout
        if first == other:
            continue
        ours, theirs = (dict(layout.categories) for layout in (first, other))
        differing = [n for n in sorted(ours.keys() | theirs.keys()) if ours.get(n) != theirs.get(n)]
        what = "its keypoints are not those"
        if differing:
            names = (show(names.get(differing[0])) for names in (theirs, ours))
            what = f"category {differing[0]} is {' here, and '.join(names)}"
        path, home = (called.get(s.annotations, s.annotations) for s in (split, splits[0]))
        hint = "every split declares the same categories"
        mistakes.append(Mistake(path=path, message=f"{what} in {home}", hint=hint))
    return mistakes


def _find_overlap(
    splits: list[CocoSplit], sheets: dict[str, AnnotationFile], called: dict[str, str]
) -> list[Mistake]:
    """Pictures that two splits share: what was measured on them would be what was trained on."""
    owners: dict[str, str] = {}
    shared: dict[tuple[str, str], list[ImageEntry]] = {}
    for split in splits:
        for picture in sheets[split.name].images:
            path = os.path.normpath(f"{split.images}/{picture.name}")
            owner = owners.setdefault(path, split.name)
            if owner != split.name:
                shared.setdefault((owner, split.name), []).append(picture)
    paths = {split.name: called.get(split.annotations, split.annotations) for split in splits}
    hint = "a picture is in one split"
    return [
        Mistake(
            path=paths[split],
            hint=hint,
            message=f"{_number(pictures)} in the {owner} split, too: image {pictures[0].id},"
            f" {show(pictures[0].name)}{', …' if len(pictures) > 1 else ''}",
        )
        for (owner, split), pictures in shared.items()
    ]


def _number(pictures: list[ImageEntry]) -> str:
    return f"{len(pictures)} of its pictures {'is' if len(pictures) == 1 else 'are'}"
