"""Read the splits of a COCO dataset with their images, and report problems within and between them.

It needs only the standard library, because `buildsys check` reports these mistakes before any work.
"""

import dataclasses
import os
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.datasets import base_names
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats.coco_file import (
    AnnotationFile,
    ImageEntry,
    file_names,
    parse,
)
from buildsys.steps.lib.datasets.labels import Finding, mistake
from buildsys.steps.lib.datasets.pixel_boxes import show


@dataclass(frozen=True, kw_only=True)
class CocoSplit:
    """One split: its annotation file, and the folder that its `file_name`s are relative to; both
    relative to the dataset's root.
    """

    name: str
    annotations: str
    images: str
    base_names: bool = False
    """Whether images are found by their names alone, anywhere in the folder."""


def read_splits(
    root: Path, splits: Iterable[CocoSplit], shape: str, labels: dict[str, str] | None = None
) -> tuple[dict[str, AnnotationFile], list[Finding]]:
    """Return the annotation files of all correct splits, by split name, and the findings.

    `shape`: box | outline | keypoints, the part of an annotation that is needed; `labels`: names of
    files and folders for messages, by their paths below `root`.
    """
    called = labels or {}
    sheets: dict[str, AnnotationFile] = {}
    mistakes: list[Finding] = []
    chosen = tuple(splits)
    for split in chosen:
        label = called.get(split.annotations, split.annotations)
        folder = called.get(split.images, split.images)
        sheet, found = read_file(root, split, shape, label, folder)
        if sheet is not None and not found:
            sheets[split.name] = sheet
        mistakes += found
    kept = [split for split in chosen if split.name in sheets]
    mistakes += _compare_categories(kept, sheets, called) + _find_overlap(kept, sheets, called)
    return sheets, mistakes


def read_file(
    root: Path, split: CocoSplit, shape: str, label: str, called: str
) -> tuple[AnnotationFile | None, list[Finding]]:
    """Return one split's annotation file if all its images exist, and the findings. `label` and
    `called`: names of the file and of the image folder for messages.
    """
    try:
        data = (root / split.annotations).read_bytes()
    except OSError as error:
        return None, [mistake(label, f"cannot be read: {error.strerror}")]
    files = set(list_files(root / split.images))
    if split.base_names:
        return _match_names(data, shape, label, called, files)
    sheet, mistakes = parse(data, label, shape)
    missing = [image for image in sheet.images if image.name not in files] if sheet else []
    if sheet is not None and not missing:
        return sheet, mistakes
    offer = _offer_base_names(data, files, label, called)
    if offer is not None:  # the other mistakes, as they are with base names
        return None, [offer, *parse(data, label, shape, base_names=True)[1]]
    number = len(sheet.images) if sheet is not None else 0
    return sheet, mistakes + _describe_missing(missing, number, label, called)


def _match_names(
    data: bytes, shape: str, label: str, called: str, files: set[str]
) -> tuple[AnnotationFile | None, list[Finding]]:
    """Return an annotation file whose images are found by their names in any folder, and the
    findings.
    """
    sheet, mistakes = parse(data, label, shape, base_names=True)
    if sheet is None:
        return None, mistakes
    places = base_names.index(files)
    images = []
    for image in sheet.images:
        found = places.get(image.name, [])
        if len(found) > 1:
            few = " and ".join(show(path) for path in found[:2])
            message = f"image {image.id}: {len(found)} files are called {show(image.name)}: {few}"
            hint = f"rename one, or write paths as `file_name` and leave `{base_names.LINE}` out"
            mistakes.append(mistake(label, message, hint))
        images.append(dataclasses.replace(image, name=found[0] if found else image.name))
    missing = [image for image in images if image.name not in files]
    mistakes += _describe_missing(missing, len(images), label, called)
    return dataclasses.replace(sheet, images=tuple(images)), mistakes


def _offer_base_names(data: bytes, files: set[str], label: str, called: str) -> Finding | None:
    """Return a finding that suggests `match: base-name`, if that finds every image."""
    names = file_names(data)
    places = base_names.index(files)
    wanted = [base_names.base_name(name) for name in names]
    wrong = [name for name in names if posixpath.normpath(name) not in files]
    if not wrong or len(set(wanted)) < len(wanted):
        return None
    if any(len(places.get(name, [])) != 1 for name in wanted):
        return None
    message = (
        f"{len(wrong)} of its {len(names)} `file_name`s are not paths in {called}, the first is"
        f" {show(wrong[0])}; every image is there by its base name"
    )
    hint = f"write `{base_names.LINE}` beside `format: coco`"
    return mistake(label, message, hint)


def _describe_missing(
    missing: list[ImageEntry], number: int, label: str, called: str
) -> list[Finding]:
    """Return findings for missing images; a single one if all are missing."""
    hint = "`file_name` starts at the folder that `images` names"
    if missing and len(missing) == number:
        first = show(missing[0].name)
        message = f"none of its {number} pictures is in {called}, the first is {first}"
        return [mistake(label, message, hint)]
    return [
        mistake(label, f"image {p.id}: {show(p.name)} is not in {called}", hint) for p in missing
    ]


def _compare_categories(
    splits: list[CocoSplit], sheets: dict[str, AnnotationFile], called: dict[str, str]
) -> list[Finding]:
    """Return findings for splits whose categories differ from the first split's: one class index
    would have two meanings.
    """
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
        mistakes.append(mistake(path, f"{what} in {home}", hint))
    return mistakes


def _find_overlap(
    splits: list[CocoSplit], sheets: dict[str, AnnotationFile], called: dict[str, str]
) -> list[Finding]:
    """Return findings for images that two splits share: accuracy would be measured on training
    images.
    """
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
        mistake(
            paths[split],
            f"{_number(pictures)} in the {owner} split, too: image {pictures[0].id},"
            f" {show(pictures[0].name)}{', …' if len(pictures) > 1 else ''}",
            hint,
        )
        for (owner, split), pictures in shared.items()
    ]


def _number(pictures: list[ImageEntry]) -> str:
    return f"{len(pictures)} of its pictures {'is' if len(pictures) == 1 else 'are'}"
