"""The `dataset` block of formats voc and darknet: the content of the folder that `path` names."""

import dataclasses
import os
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from buildsys.authoring.datasets import data_yaml
from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.data_yaml import MissingPart
from buildsys.authoring.datasets.facts import DatasetFacts, prepare_splits
from buildsys.authoring.datasets.findings import diagnose, diagnose_one
from buildsys.authoring.datasets.label_folders import suggest_names
from buildsys.authoring.datasets.leftovers import is_own, is_visible
from buildsys.authoring.datasets.name_forms import explain_forms
from buildsys.authoring.syntax.scope import Scope
from buildsys.authoring.syntax.unicode_forms import hint_form
from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats import darknet_format, voc_format
from buildsys.steps.lib.datasets.labels import Finding, Layout, label_path, read_text
from buildsys.steps.lib.images.decoding import is_image

FORMATS = ("voc", "darknet")


@dataclass(frozen=True, kw_only=True)
class FolderSet:
    """A folder's facts, its files and folders from `facts.root`, and what it lacks.

    Also the files and folders whose change changes the facts.
    """

    facts: DatasetFacts
    parts: tuple[str, ...]
    read: frozenset[Path]
    missing_parts: tuple[MissingPart, ...]


Known = dict[Hashable, "FolderSet | tuple[Diagnostic, ...]"]
"""Folders read in this run: the builds of a recipe share their data."""


def check_format(scope: Scope, block: Dataset, task: str) -> None:
    """Raise InputError unless the block's keys belong together."""
    if block.classes is not None and block.format != "voc":
        message = "`classes` belongs to `format: voc`, whose files have no order of classes"
        hint = "remove it: the dataset lists its classes"
        raise InputError(scope.locate(("dataset", "classes"), message, hint, key=True))
    if block.format not in FORMATS:
        return
    if task != "detect":
        message = f"format {block.format} has no labels for task {task}"
        raise InputError(
            scope.locate(("dataset", "format"), message, "its labels are boxes, for task detect")
        )
    if block.path is None and block.url is None and block.generator is None:
        message = f"`format: {block.format}` needs `path`: the folder of the dataset"
        raise InputError(scope.locate(("dataset", "format"), message, "path: data/my"))


def root_of(path: Path) -> Path:
    """Return the folder of a dataset: `path` itself, or the parent of an obj.data."""
    return path.parent if path.suffix == ".data" else path


def find_root(folder: Path, known: str) -> Path:
    """Return the dataset in an unpacked archive: its folder, or a folder in it."""
    if known == "voc":
        return find_voc(folder) or folder
    below = [*sorted(folder.glob("*")), *sorted(folder.glob("*/*"))]
    found = [
        path
        for path in (folder, *below)
        if os.path.isdir(path) and isinstance(find_darknet(path), darknet_format.DarknetSet)
    ]
    return found[0] if found else folder


def find_voc(folder: Path) -> Path | None:
    """Return the one dataset in Pascal VOC format: a folder or, as in archives, one in it."""
    if not voc_format.find_splits(folder):
        return None
    found = {path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/Annotations")}
    deeper = [path for path in sorted(found) if is_own(path.relative_to(folder))]
    if len(deeper) > 1:
        return None
    return deeper[0] if deeper else folder


def is_voc_part(folder: Path) -> bool:
    """Return whether a folder has the annotations or the images of a dataset in its parent."""
    if folder.name not in ("Annotations", "annotations", "JPEGImages"):
        return False
    splits = voc_format.find_splits(folder.parent)
    return any(folder.name in split.places for split in splits)


def find_darknet(root: Path, data: str = "") -> darknet_format.DarknetSet | Finding:
    """Return the files of a dataset of darknet, or what is missing; `data`: its obj.data."""
    files = [path.name for path in root.glob("*.data") if is_visible(path.name)]
    return darknet_format.find_set(root, data or (files[0] if len(files) == 1 else ""))


def read_folder(path: Path, label: str, block: Dataset, known: Known) -> FolderSet:
    """Return a folder's content in the block's format.

    `label`: the name of `path` in messages; empty in an archive, where messages name the files.
    Raises InputError with every mistake, the first ones in full.
    """
    home = os.path.dirname(label) or "." if label and root_of(path) != path else label
    classes = tuple(block.classes) if block.classes is not None else None
    key = (block.format, path, label, classes)
    if key not in known:
        found = (
            _read_voc(path, home, classes) if block.format == "voc" else _read_darknet(path, home)
        )
        if isinstance(found, FolderSet):
            known[key] = found
        else:
            mistakes = diagnose(found, lambda place: _call(place, home))
            root = root_of(path)
            images = [name for name in list_files(root) if is_image(PurePosixPath(name))]
            known[key] = explain_forms(mistakes, _written(root), images, home or ".")
    chosen = known[key]
    if isinstance(chosen, FolderSet):
        return chosen
    raise InputError(*chosen)


def _read_voc(root: Path, label: str, classes: tuple[str, ...] | None) -> FolderSet | list[Finding]:
    if is_voc_part(root):
        return [
            Finding.error(
                "broken-list",
                "",
                "is a folder of the dataset",
                "write the `path` of the folder around it",
            )
        ]
    splits = voc_format.find_splits(root)
    home = find_voc(root)
    if splits and home is None:
        return [
            Finding.error(
                "broken-list",
                "",
                "has several datasets in Pascal VOC format",
                "write the `path` of one of them",
            )
        ]
    if home is not None and home != root:
        hint = f"write `path: …/{os.path.relpath(home, root)}`"
        return [Finding.error("broken-list", "", "is not the dataset, but contains it", hint)]
    if not splits:
        hint = "the format has Annotations/*.xml and JPEGImages/, or an .xml beside each image"
        hint = _suggest_yaml(root) or hint
        return [
            Finding.error("broken-list", "", "has no annotation file in Pascal VOC format", hint)
        ]
    entries, wrong = [], []
    for split in splits:
        found, findings = voc_format.read_entries(root, split)
        findings += _find_lost_files(root, split, found, label)
        entries.append((split, found))
        wrong += [finding for finding in findings if finding.severity == "error"]
    if wrong:
        return wrong
    names = classes or voc_format.class_names(entry for _, found in entries for entry in found)
    if not names:
        return [Finding.error("broken-list", "", "no annotation file has an object")]
    layout = Layout(classes=names, keypoints=0, dims=0)
    for _, found in entries:
        for entry in found:
            findings = voc_format.place_objects(entry, layout)[1]
            wrong += [finding for finding in findings if finding.severity == "error"]
    if wrong:
        return wrong
    parts = tuple(dict.fromkeys(place for split in splits for place in split.places))
    files = {entry.file for _, found in entries for entry in found}
    lists = root / "ImageSets" / "Main"
    missing_parts = tuple(
        _missing_part(split.name, split.names or split.annotations, label)
        for split, found in entries
        if not any(voc_format.has_objects(entry) for entry in found)
    )
    facts = _facts(root, "voc", names, [(split.name, split.places) for split in splits])
    absent = tuple((split.name, _absent(names, found)) for split, found in entries)
    images = tuple((split.name, len(found)) for split, found in entries)
    return FolderSet(
        facts=dataclasses.replace(facts, absent=absent, images=images),
        parts=parts,
        read=frozenset({root, lists, *(root / place for place in (*parts, *filter(None, files)))}),
        missing_parts=missing_parts,
    )


def _absent(names: tuple[str, ...], entries: Iterable[voc_format.Entry]) -> tuple[str, ...]:
    """Return the classes without an object that is used."""
    files = [entry.content for entry in entries if entry.content is not None]
    present = {item.name for file in files for item in file.objects if not item.difficult}
    return tuple(name for name in names if name not in present)


def _written(root: Path) -> Iterator[str]:
    """Yield the names of images in the lists of a dataset, and those of its annotation files."""
    for name in list_files(root):
        path = PurePosixPath(name)
        if voc_format.is_xml(path):
            yield path.stem
        elif path.suffix == ".txt":
            yield from map(str.strip, read_text(root / name)[0].splitlines())


def _find_lost_files(
    root: Path, split: voc_format.VocSplit, entries: list[voc_format.Entry], label: str
) -> Iterator[Finding]:
    """Yield images of a list whose annotation file is there under a name in another Unicode form.

    They would count as images without objects; without a list the annotation file is a mistake.
    """
    bare = [entry.image for entry in entries if not entry.file and not entry.image.isascii()]
    if not bare or not split.names:
        return
    used = {entry.file for entry in entries}
    files = (file for file in list_files(root, split.annotations) if voc_format.is_xml(file))
    forms = {_look(file, split.annotations) for file in files if file not in used}
    for image in bare:
        if _look(image, split.images) in forms:
            message = "no annotation file has the name of this image"
            yield Finding.error(
                "broken-list", image, message, hint_form(image, label or ".", below=True)
            )


def _look(path: str, folder: str) -> str:
    """Return the same text for files whose paths below a folder look alike without endings."""
    return normalize("NFC", str(PurePosixPath(path).relative_to(folder).with_suffix("")))


def _read_darknet(path: Path, label: str) -> FolderSet | list[Finding]:
    root = root_of(path)
    files = find_darknet(root, path.name if root != path else "")
    if isinstance(files, Finding):
        return [dataclasses.replace(files, hint=_suggest_yaml(root) or files.hint)]
    declared, wrong = darknet_format.read_declared(root, files)
    if declared is None:
        return wrong
    places = [place for _, paths in declared.splits for place in paths]
    beside = [str(label_path(PurePosixPath(place))) for place in places]
    found = [place for place in beside if os.path.isdir(root / place)]
    parts = tuple(dict.fromkeys((*files.files, *places, *found)))
    missing_parts = tuple(
        _missing_part(name, paths[-1], label, _suggest_names(root))
        for name, paths in declared.splits
        if not darknet_format.has_labels(root, paths)
    ) + tuple(
        MissingPart(split=name, what="images", diagnostic=_diagnose(finding, label))
        for name, finding in files.lacking
    )
    return FolderSet(
        facts=_facts(root, "darknet", declared.classes, list(declared.splits)),
        parts=parts,
        read=frozenset({root, *(root / part for part in parts)}),
        missing_parts=missing_parts,
    )


def _facts(
    root: Path, name: str, classes: tuple[str, ...], splits: list[tuple[str, tuple[str, ...]]]
) -> DatasetFacts:
    facts = DatasetFacts(
        root=str(root),
        names=classes,
        keypoints=0,
        keypoint_dims=0,
        sigmas=(),
        splits=(),
        format=name,
        given=tuple(splits),
    )
    return prepare_splits(facts)


def _suggest_names(root: Path) -> str:
    """Return which folders to rename where no label is found; "" if none."""
    image = next((path for path in list_files(root) if is_image(PurePosixPath(path))), "")
    return suggest_names(root, image)


def _missing_part(split: str, place: str, label: str, hint: str = "") -> MissingPart:
    message = f"no image of the {split} split has a label"
    finding = Finding.error("broken-list", place, message, hint)
    return MissingPart(split=split, what="labels", diagnostic=_diagnose(finding, label))


def _diagnose(finding: Finding, label: str) -> Diagnostic:
    return diagnose_one(finding, lambda path: _call(path, label))


def _suggest_yaml(root: Path) -> str:
    """Return what to write for a folder in Ultralytics' format; otherwise an empty text."""
    name = next((name for name in data_yaml.NAMES if os.path.isfile(root / name)), "")
    return f"it contains {name}: write `path: …/{name}`, and remove `format`" if name else ""


def _call(path: str, label: str) -> str:
    return os.path.normpath(f"{label}/{path}") if label else path or "the archive"
