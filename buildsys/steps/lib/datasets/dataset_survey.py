"""What a dataset holds, counted picture by picture: nothing of a picture is kept but its figures."""

import os
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from buildsys.steps.lib.datasets.labels import (
    Finding,
    Layout,
    Object,
    check_object,
    label_file,
    label_path,
    parse,
)
from buildsys.steps.lib.datasets.ultralytics_layout import SUFFIXES, Split

SMALL = 8
"""Pixels at the network's input below which a box's shorter side is less than one cell of the
finest grid."""
_NOT_LABELS = frozenset({"classes.txt"})
"""What labelling tools leave beside the labels."""


@dataclass(kw_only=True)
class Tally:
    """One split so far. `frames`: (height, width) of the network's inputs."""

    name: str
    layout: Layout
    frames: tuple[tuple[int, int], ...]
    pictures: int = 0
    unreadable: int = 0
    without_file: int = 0
    empty_file: int = 0
    classes: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sides: list[list[float]] = field(default_factory=list)
    seen: dict[str, int] = field(
        default_factory=lambda: {"visible": 0, "hidden": 0, "not labelled": 0}
    )

    def __post_init__(self) -> None:
        """One count a class, one list a frame."""
        self.classes = [0] * len(self.layout.classes)
        self.sides = [[] for _ in self.frames]

    def add_object(self, item: Object, size: tuple[int, int] | None) -> None:
        """Count an object of a picture of `size` (width, height)."""
        self.classes[item.category] += 1
        for *_, visibility in item.keypoints:
            word = {0.0: "not labelled", 1.0: "hidden"}.get(visibility, "visible")
            self.seen[word] += 1
        if size is None or min(item.box[2:]) <= 0:
            return
        for (height, width), sides in zip(self.frames, self.sides, strict=True):
            scale = min(height / size[1], width / size[0])
            sides.append(min(item.box[2] * size[0], item.box[3] * size[1]) * scale)

    def facts(self) -> dict[str, Any]:
        """The split as report.json tells it."""
        facts: dict[str, Any] = {
            "name": self.name,
            "pictures": self.pictures,
            "objects": sum(self.classes),
            "classes": dict(zip(self.layout.classes, self.classes, strict=True)),
            "without_label_file": self.without_file,
            "empty_label_file": self.empty_file,
            "unreadable": self.unreadable,
        }
        if self.sizes:
            order = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
            picks = {"smallest": 0, "median": len(order) // 2, "largest": -1}
            facts["sizes"] = {name: list(order[index]) for name, index in picks.items()}
        facts["at_input"] = [
            {
                "input": list(frame),
                "objects": len(sides),
                "under_8_px": sum(side < SMALL for side in sides),
                "median_px": round(statistics.median(sides), 1),
            }
            for frame, sides in zip(self.frames, self.sides, strict=True)
            if sides
        ]
        if self.layout.keypoints:
            facts["keypoints"] = self.seen
        return facts


def list_pictures(root: Path, split: Split) -> tuple[list[str], tuple[Finding, ...]]:
    """A split's pictures relative to the dataset, sorted; entries that lead to nothing."""
    found: set[str] = set()
    findings = []
    for entry in split.paths:
        place = root / entry
        if place.is_dir():
            found |= {
                _name(root, path) for path in _below(place) if path.suffix.lower() in SUFFIXES
            }
        elif place.is_file() and place.suffix == ".txt":
            for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), 1):
                path = place.parent / line.strip()
                if line.strip() and path.is_file():
                    found.add(_name(root, path))
                elif line.strip():
                    message = f"lists {line.strip()}, which does not exist"
                    findings.append(_error("missing-picture", entry, message, number))
        else:
            message = f"the {split.name} split names this, and it does not exist"
            findings.append(_error("missing-picture", entry, message))
    if not found and not findings:
        entry = ", ".join(split.paths)
        findings.append(_error("no-pictures", entry, f"the {split.name} split has no pictures"))
    return sorted(found), tuple(findings)


def read_objects(
    root: Path, picture: str, size: tuple[int, int] | None, tally: Tally
) -> tuple[tuple[Object, ...], tuple[Finding, ...]]:
    """The objects of one picture, counted, and what is wrong with its label file.

    Where classes are folders the whole picture is one object of its folder's class.
    """
    if tally.layout.shape == "folder":
        return _read_folder(picture, tally)
    name = str(label_file(PurePosixPath(picture)))
    path = root / name
    if not path.is_file():
        tally.without_file += 1
        return (), ()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return (), (_error("broken-line", name, "is no text file"),)
    if not text.strip():
        tally.empty_file += 1
        return (), ()
    rows, findings = parse(text, name, tally.layout)
    for line, item in rows:
        tally.add_object(item, size)
        findings += check_object(item, size, name, line, tally.layout)
    return tuple(item for _, item in rows), findings


def _read_folder(picture: str, tally: Tally) -> tuple[tuple[Object, ...], tuple[Finding, ...]]:
    """`picture`: <split>/<class>/…, relative to the dataset."""
    parts = picture.split("/")
    if len(parts) < 3:
        return (), (_error("no-class", picture, "lies in no class's folder: <split>/<class>/…"),)
    if parts[1] not in tally.layout.classes:
        message = f"{parts[1]} is no class: train has no such folder"
        return (), (_error("class-out-of-range", picture, message),)
    category = tally.layout.classes.index(parts[1])
    tally.classes[category] += 1
    return (Object(category=category, box=(0.5, 0.5, 1.0, 1.0), keypoints=()),), ()


def find_copies(digests: dict[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    """Pictures with the same bytes. `digests`: digest -> (split, picture), in order."""
    for group in digests.values():
        (first_split, first), *others = group
        for split, name in others:
            same = f"the same bytes as {first}" if name != first else "this very file"
            if split == first_split:
                yield _warning("duplicate", name, f"{same}, in the same split ({split})")
            else:
                message = f"{same}, which is in the {first_split} split too: a leak"
                if name != first:
                    message = f"{same}: a leak from {first_split} into {split}"
                hint = f"what is measured on {split} is partly what {first_split} has shown"
                yield _warning("leak", name, message, hint)


def find_stray_labels(
    root: Path, splits: tuple[Split, ...], pictures: set[str]
) -> Iterator[Finding]:
    """Label files beside the splits' folders whose picture is not there."""
    wanted = {str(label_file(PurePosixPath(picture))) for picture in pictures}
    folders = sorted(
        {str(label_path(PurePosixPath(entry))) for split in splits for entry in split.paths}
    )
    for folder in folders:
        if not (root / folder).is_dir():
            continue
        for path in sorted(_below(root / folder)):
            name = _name(root, path)
            if path.suffix == ".txt" and name not in wanted and path.name not in _NOT_LABELS:
                yield _warning("stray-label", name, "a label file without its picture")


def find_shared_labels(pictures: list[str]) -> Iterator[Finding]:
    """Pictures that differ in their suffix alone have one label file between them."""
    groups: dict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        groups[str(label_file(PurePosixPath(picture)))].append(picture)
    for name, group in groups.items():
        for other in group[1:]:
            yield _warning("shared-label", other, f"has its labels ({name}) from {group[0]}, too")


def find_gaps(tallies: list[Tally]) -> Iterator[Finding]:
    """Splits without any label, classes that a labelled split never shows."""
    for tally in tallies:
        if tally.pictures and tally.without_file == tally.pictures:
            message = f"no picture of the {tally.name} split has a label file"
            yield _warning("no-labels", "", message, "labels/… stands beside images/…")
        elif sum(tally.classes):
            for name, count in zip(tally.layout.classes, tally.classes, strict=True):
                if not count:
                    yield _warning("class-missing", "", f"no {name} in the {tally.name} split")


def _below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _name(root: Path, path: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _error(kind: str, path: str, message: str, line: int = 0) -> Finding:
    return Finding(
        kind=kind, severity="error", path=path, line=line, column=min(line, 1), message=message
    )


def _warning(kind: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(kind=kind, severity="warning", path=path, message=message, hint=hint)
