"""The `dataset` block of format coco: where its files are, and the content of its annotation
files.
"""

import dataclasses
import os
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.coco_contents import Group, read_contents
from buildsys.authoring.datasets.data_yaml import FLIPPED, MissingPart
from buildsys.authoring.datasets.facts import DatasetFacts, prepare_splits
from buildsys.authoring.datasets.findings import diagnose
from buildsys.authoring.syntax.scope import Scope
from buildsys.authoring.syntax.workspace_paths import FROM_ROOT, hint_missing
from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets.formats import coco_format
from buildsys.steps.lib.datasets.formats.coco_file import AnnotationFile, Layout
from buildsys.steps.lib.datasets.formats.coco_splits import CocoSplit, read_splits
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.text import did_you_mean

Known = dict[Hashable, "CocoSet | tuple[Diagnostic, ...]"]
"""Annotation files read in this run: the builds of a recipe share their data."""

SHAPES = {"detect": "box", "segment": "outline", "pose": "keypoints"}
"""What each task needs of an annotation; COCO's format has no labels for other tasks."""
_EXAMPLE = "splits: {train: {annotations: data/my/train.json, images: data/my/images}}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a dataset's files are: their common folder, and paths relative to it.

    The paths are (split, annotation file, image folder). `labels`: the paths as the author wrote
    them. `base_names`: see `match` of the block.
    """

    root: Path
    splits: tuple[tuple[str, str, str], ...]
    labels: tuple[tuple[str, str], ...]
    base_names: bool


@dataclass(frozen=True, kw_only=True)
class CocoSet:
    """The facts of annotation files, and the splits without a labelled object."""

    facts: DatasetFacts
    missing_parts: tuple[MissingPart, ...]


def check_format(scope: Scope, block: Dataset, task: str) -> None:
    """Raise InputError if keys contradict `format`, or COCO's format has no labels for the task."""
    if block.format != "coco":
        key = "splits" if block.splits is not None else "match"
        hint = "write `format: coco`, or `path: …/data.yaml` instead"
        if key == "match":
            hint = "remove it: it is for `file_name`s of COCO files only"
        elif block.format in ("voc", "darknet"):
            hint = "remove it, or write `format: coco`"
        message = f"`{key}` belongs to `format: coco`"
        raise InputError(scope.locate(("dataset", key), message, hint, key=True))
    if task not in SHAPES:
        message = f"format coco has no labels for task {task}"
        hint = did_you_mean("", SHAPES)
        raise InputError(scope.locate(("dataset", "format"), message, hint))
    if block.generator is not None:
        return
    if block.splits is None:
        message = "`format: coco` needs `splits`, with `annotations` and `images` for each"
        raise InputError(scope.locate(("dataset", "format"), message, _EXAMPLE))
    if not block.splits.given:
        raise InputError(scope.locate(("dataset", "splits"), "`splits` is empty", _EXAMPLE))
    if block.path is not None:
        message = "`path` has no effect with `format: coco`"
        hint = "remove it: `splits` names the files"
        raise InputError(scope.locate(("dataset", "path"), message, hint, key=True))


def find_place(block: Dataset, base: Path) -> Place:
    """Return the files, whether they exist or not; written paths are relative to `base`."""
    assert block.splits is not None
    whole = [
        (name, _whole(base, sheet.annotations), _whole(base, sheet.images))
        for name, sheet in block.splits.given
    ]
    folders = [folder for _, file, images in whole for folder in (os.path.dirname(file), images)]
    root = os.path.commonpath(folders)
    splits = tuple((n, os.path.relpath(a, root), os.path.relpath(i, root)) for n, a, i in whole)
    labels: dict[str, str] = {}
    for (_, sheet), (_, file, images) in zip(block.splits.given, splits, strict=True):
        labels |= {file: sheet.annotations, images: sheet.images}
    return Place(
        root=Path(root),
        splits=splits,
        labels=tuple(labels.items()),
        base_names=block.match is not None,
    )


def _whole(base: Path, path: str) -> str:
    return os.path.normpath(base / os.path.expanduser(path))


def check_files(scope: Scope, place: Place, start: str) -> None:
    """Raise InputError unless each annotation file is a file and each image folder a directory.

    `start`: the root that the paths are relative to.
    """
    labels, problems = dict(place.labels), []
    for split, file, images in place.splits:
        for key, path, exists in (
            ("annotations", file, os.path.isfile),
            ("images", images, os.path.isdir),
        ):
            whole = os.path.normpath(place.root / path)
            if exists(whole):
                continue
            what, hint = _missing(whole, labels[path], FROM_ROOT.format(start))
            at = ("dataset", "splits", split, key)
            problems.append(scope.locate(at, f"{labels[path]} {what}", hint))
    if problems:
        raise InputError(*problems)


def _missing(path: str, written: str, from_root: str) -> tuple[str, str]:
    """Return what is wrong with the path of annotations or images, and what to do."""
    if os.path.isdir(path):
        return "is a directory; `annotations` is one file", did_you_mean("", os.listdir(path))
    if os.path.exists(path):
        return "is a file; `images` is the folder that each `file_name` is relative to", ""
    return "does not exist", hint_missing(Path(path), written, from_root)


def read_sets(place: Place, task: str, known: Known) -> CocoSet:
    """Return the facts of the annotation files.

    Raises InputError with every mistake, the first ones in full.
    """
    shape = SHAPES[task]
    key = (place, shape)
    if key not in known:
        known[key] = _read(place, shape)
    found = known[key]
    if isinstance(found, tuple):
        raise InputError(*found)
    return found


def _read(place: Place, shape: str) -> CocoSet | tuple[Diagnostic, ...]:
    splits = [
        CocoSplit(name=name, annotations=file, images=images, base_names=place.base_names)
        for name, file, images in place.splits
    ]
    sheets, mistakes = read_splits(place.root, splits, shape, dict(place.labels))
    if mistakes:
        return _diagnose(place, shape, mistakes)
    layout = next(iter(sheets.values())).layout
    facts = DatasetFacts(
        root=str(place.root),
        names=layout.names,
        keypoints=len(layout.keypoints),
        keypoint_dims=3 if layout.keypoints else 0,
        sigmas=layout.sigmas,
        flip=layout.flip,
        splits=(),
        format=coco_format.NAMES[place.base_names],
        given=tuple((name, (images, file)) for name, file, images in place.splits),
        crowds=tuple((name, sheet.crowds) for name, sheet in sheets.items() if sheet.crowds),
        absent=tuple((name, _absent(sheet)) for name, sheet in sheets.items()),
        images=tuple((name, len(sheet.images)) for name, sheet in sheets.items()),
    )
    facts = dataclasses.replace(facts, group=_find_group(place, facts))
    labels = dict(place.labels)
    missing_parts = tuple(
        MissingPart(split=split, what="labels", diagnostic=_unlabelled(split, labels[file]))
        for split, file, _ in place.splits
        if not any(sheets[split].objects)
    )
    if layout.keypoints and not layout.flip:
        at = _unmirrored(layout, labels[place.splits[0][1]])
        missing_parts = (*missing_parts, MissingPart(split="", what="flip", diagnostic=at))
    return CocoSet(facts=prepare_splits(facts), missing_parts=missing_parts)


def _unmirrored(layout: Layout, path: str) -> Diagnostic:
    number = layout.categories[0][0]
    message = (
        f"category {number}: no names of `keypoints` are pairs of left and right, so training does not"
        " mirror images"
    )
    hint = f'write `"flip_idx": […]` beside `keypoints` in every annotation file: {FLIPPED}'
    return Diagnostic(path=path, message=message, hint=hint, severity="warning")


def _diagnose(place: Place, shape: str, mistakes: list[Finding]) -> tuple[Diagnostic, ...]:
    """Return the mistakes; a group without keypoints is the only one of its file."""
    labels, wrong = dict(place.labels), dict[str, Diagnostic]()
    for _, file, _ in place.splits if shape == "keypoints" else ():
        label = labels[file]
        group = _group(place, file)
        if group is not None and not group.keypoints:
            message = f"{group.message}, and has no `keypoints`"
            wrong[label] = Diagnostic(path=label, message=message, hint=group.hint)
    kept = [mistake for mistake in mistakes if mistake.path not in wrong]
    return (*wrong.values(), *diagnose(kept, str))


def _find_group(place: Place, facts: DatasetFacts) -> Group | None:
    """Return the class that only groups the others.

    The file is parsed again only if the first class has no object.
    """
    if len(facts.names) == 1 or any(facts.names[0] not in names for _, names in facts.absent):
        return None
    return _group(place, place.splits[0][1])


def _group(place: Place, file: str) -> Group | None:
    try:
        return read_contents(place.root / file, file).group
    except InputError:  # reading the dataset reports it
        return None


def _absent(sheet: AnnotationFile) -> tuple[str, ...]:
    """Return the classes of which a file has no object."""
    present = {item.category for objects in sheet.objects for item in objects}
    return tuple(name for n, name in enumerate(sheet.layout.names) if n not in present)


def _unlabelled(split: str, path: str) -> Diagnostic:
    message = f"no image of the {split} split has a label: `annotations` is empty"
    return Diagnostic(path=path, line=0, column=0, message=message)


def coco_parts(place: Place) -> tuple[str, ...]:
    """Return the files and folders of the dataset."""
    return tuple(dict.fromkeys(path for _, file, images in place.splits for path in (file, images)))
