"""Read a darknet dataset: images with a .txt file each, a file of class names, and lists of images
per split.

It reads `obj.data` and the files that it names (https://github.com/AlexeyAB/darknet; also as
exported by CVAT), folders `train`, `valid` and `test` as Roboflow exports them, and one folder of
images with `classes.txt` as labelImg and Label Studio write it. Paths in a list are relative to the
folder in which darknet was started, which is unknown: the longest end of a path that is an image of
the dataset is used.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.formats.ultralytics_format import read_sample
from buildsys.steps.lib.datasets.label_files import LabelFiles, describe_stray
from buildsys.steps.lib.datasets.labels import (
    Finding,
    Layout,
    is_class_name,
    read_text,
)
from buildsys.steps.lib.datasets.pixel_boxes import show
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.split_names import SPLITS, find_splits
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_images
from buildsys.steps.lib.images.decoding import is_image

NAMES = ("obj.names", "classes.txt", "_darknet.labels", "classes.names")
"""Files of class names, if no obj.data names one."""


@dataclass(frozen=True, kw_only=True)
class DarknetSet:
    """A dataset's files, relative to its root: obj.data if it exists, the class names, and each
    split's folder or list of images. `lacking`: splits whose list is named in obj.data but missing.
    """

    data: str
    names: str
    splits: tuple[tuple[str, str], ...]
    lacking: tuple[tuple[str, Finding], ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that define the dataset."""
        lists = (path for _, path in self.splits if path.endswith(".txt"))
        return tuple(filter(None, (self.data, self.names, *lists)))


@dataclass(frozen=True, kw_only=True)
class Declared:
    """The content of a dataset's files: the class names, and each split's paths as in
    `Split.paths`.
    """

    classes: tuple[str, ...]
    splits: tuple[tuple[str, tuple[str, ...]], ...]


def find_set(root: Path, data: str = "") -> DarknetSet | Finding:
    """Return the files of a dataset, or what is missing. `data`: its obj.data, relative to the
    root.
    """
    files = [data] if data else sorted(path.name for path in root.glob("*.data"))
    if len(files) > 1:
        message = f"holds {len(files)} .data files: {', '.join(files[:5])}"
        return Finding.error("broken-list", "", message, hint=f"say which: `path: …/{files[0]}`")
    if files:
        return _read_data(root, files[0])
    names = next((name for name in NAMES if (root / name).is_file()), "")
    found = list(find_splits("*.txt", lambda path: (root / path).is_file()))
    if not found:
        below = {
            split: path
            for place in ("images/*", "*")
            for split, path in find_splits(place, lambda path: (root / path).is_dir())
        }
        found = [(split, below[split]) for split in SPLITS if split in below]
    if not names and found:
        paths = (f"{folder}/{name}" for _, folder in found for name in NAMES)
        names = next((path for path in paths if (root / path).is_file()), "")
    if not names:
        message = f"holds no obj.data and no file of class names ({', '.join(NAMES[:3])})"
        return Finding.error("broken-list", "", message, hint="write classes.txt: a name a line")
    images = "images" if (root / "images").is_dir() else "."
    return DarknetSet(data="", names=names, splits=tuple(found) or (("train", images),))


def read_declared(root: Path, files: DarknetSet) -> tuple[Declared | None, list[Finding]]:
    """Return the class names and the paths of the splits, None if they have a mistake, and the
    findings.
    """
    findings: list[Finding] = []
    classes = _read_names(root, files, findings)
    known = _list_images(root)
    splits: list[tuple[str, tuple[str, ...]]] = []
    for name, place in files.splits:
        if not place.endswith(".txt"):
            splits.append((name, (place,)))
            continue
        wanted, wrong = _read_list(root, place, known)
        findings += wrong
        common = os.path.commonpath([os.path.dirname(path) for path in wanted]) if wanted else ""
        splits.append((name, (common or ".", place)))
    if findings:
        return None, findings
    return Declared(classes=classes, splits=tuple(splits)), []


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Read a split; see `readers.DatasetFormat`."""
    lists = [path for path in split.paths if path.endswith(".txt")]
    findings: list[Finding]
    if lists:
        names, findings = _read_list(root, lists[0], _list_images(root))
    else:
        found, wrong = find_images(root, split)
        names, findings = list(found), list(wrong)
    samples, files = [], LabelFiles(root)
    for name in names:
        sample, broken = read_sample(root, name, layout, files.find(name))
        samples.append(sample)
        findings += broken
    return tuple(samples), tuple(findings)


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Yield label files, in the folders of labelled images, whose image does not exist."""
    every = list(samples)
    used = {sample.labels for sample in every}
    lists = {path for split in splits for path in split.paths}
    for folder in sorted({os.path.dirname(name) for name in used if name}):
        entries = sorted(os.listdir(root / folder))
        pictured = {PurePosixPath(name).stem for name in entries if is_image(PurePosixPath(name))}
        for entry in entries:
            name = f"{folder}/{entry}" if folder else entry
            if name not in used | lists and PurePosixPath(entry).stem not in pictured:
                yield from describe_stray(name)


def has_labels(root: Path, paths: tuple[str, ...]) -> bool:
    """Return whether any label file of a split has a line."""
    lists = [path for path in paths if path.endswith(".txt")]
    known = _list_images(root)
    names = _read_list(root, lists[0], known)[0] if lists else sorted(known)
    found = (name for name in names if lists or _is_below(name, paths[0]))
    return LabelFiles(root).is_labelled(found)


def _read_data(root: Path, file: str) -> DarknetSet | Finding:
    """Read obj.data, one `key = value` per line."""
    text, problem = read_text(root / file)
    if problem:
        return Finding.error("broken-list", file, problem)
    values: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key, sign, value = line.partition("=")
        if sign and not line.lstrip().startswith(("#", ";")):
            values[key.strip()] = (value.strip(), number)
    present = set(list_files(root))
    places: dict[str, str] = {}
    lacking: list[tuple[str, Finding]] = []
    keys = [("names", "names")] if values.get("names", ("", 0))[0] else []
    for split, key in (*keys, *find_splits("*", lambda key: bool(values.get(key, ("", 0))[0]))):
        value, number = values[key]
        place = _find_end(value, os.path.dirname(file), present)
        if place:
            places[split] = place
            continue
        finding = Finding.error(
            "broken-list", file, f"`{key}` names {show(value)}, which is not here", line=number
        )
        if split in ("names", "train"):
            return finding
        lacking.append((split, finding))
    names = places.pop("names", "") or next((name for name in NAMES if name in present), "")
    if not names or "train" not in places:
        key = "train" if names else "names"
        return Finding.error("broken-list", file, f"has no line `{key} = …`")
    splits = tuple(places.items())
    return DarknetSet(data=file, names=names, splits=splits, lacking=tuple(lacking))


def _read_names(root: Path, files: DarknetSet, findings: list[Finding]) -> tuple[str, ...]:
    """Read one class per line, ignoring empty lines at the end."""
    text, problem = read_text(root / files.names)
    if problem:
        findings.append(Finding.error("broken-list", files.names, problem))
        return ()
    names = [line.strip() for line in text.rstrip().splitlines()]
    first: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not is_class_name(name):
            message = f"class {number - 1} has no name"
            findings.append(Finding.error("broken-list", files.names, message, line=number))
        elif first.setdefault(name, number) != number:
            message = f"the class {show(name)} is there twice: line {first[name]}"
            findings.append(Finding.error("broken-list", files.names, message, line=number))
    if not names:
        findings.append(Finding.error("broken-list", files.names, "names no class"))
    if not findings:
        _check_count(root, files, len(names), findings)
    return tuple(names)


def _check_count(root: Path, files: DarknetSet, count: int, findings: list[Finding]) -> None:
    text = read_text(root / files.data)[0] if files.data else ""
    for number, line in enumerate(text.splitlines(), 1):
        key, _, value = (word.strip() for word in line.partition("="))
        if key == "classes" and value != str(count):
            message = f"`classes` is {value}, and {files.names} has {count}"
            findings.append(Finding.error("broken-list", files.data, message, line=number))


def _read_list(root: Path, place: str, known: set[str]) -> tuple[list[str], list[Finding]]:
    """Return the images that a list names, sorted, and findings for lines that name none."""
    text, problem = read_text(root / place)
    if problem:
        return [], [Finding.error("broken-list", place, problem)]
    found: set[str] = set()
    findings = []
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, line in lines:
        path = _find_end(line, os.path.dirname(place), known)
        if path:
            found.add(path)
        else:
            findings.append(
                Finding.error(
                    "broken-list", place, f"lists {show(line)}, which is not here", line=number
                )
            )
    if lines and not found:
        message = f"none of its {len(lines)} images is here, the first is {show(lines[0][1])}"
        findings = [Finding.error("broken-list", place, message, line=lines[0][0])]
    if not lines:
        findings = [Finding.error("broken-list", place, "names no image")]
    return sorted(found), findings


def _find_end(written: str, folder: str, known: set[str]) -> str:
    """Return the longest end of a path that is a file of the dataset, relative to the root or to
    `folder`.
    """
    text = written.replace("\\", "/")
    parts = [part for part in text.split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        end = "/".join(parts[start:])
        for path in (end, f"{folder}/{end}" if folder else end):
            if path in known:
                return path
    return ""


def _list_images(root: Path) -> set[str]:
    return {path for path in list_files(root) if is_image(PurePosixPath(path))}


def _is_below(path: str, place: str) -> bool:
    return place == "." or path.startswith(f"{place}/")
