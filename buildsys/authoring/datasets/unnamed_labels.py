"""Label files of Ultralytics or darknet without the file that names their classes."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.authoring.datasets.label_folders import suggest_names
from buildsys.authoring.syntax.scalars import scalar
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.labels import label_file, read_text
from buildsys.steps.lib.datasets.split_names import SPLITS
from buildsys.steps.lib.images.decoding import is_image

_ROW = re.compile(r"(\d{1,4})((?:\s+[-+.\deE]+){4,})")
"""A line of a label file: the class, then numbers."""
_MOST = 20
"""The most classes that a hint lists."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """The content of label files: the number of classes, and of columns in their lines."""

    classes: int
    columns: frozenset[int]


def describe_unnamed(folder: Path, data: str) -> tuple[str, str] | None:
    """Return what is missing where nothing names the classes of labels, and the file to write.

    `data`: the folder's name in messages.
    """
    present = dict.fromkeys(list_files(folder))
    images = [PurePosixPath(path) for path in present if is_image(PurePosixPath(path))]
    beside = {image: str(image.with_suffix(".txt")) for image in images}
    apart = {image: str(label_file(image)) for image in images}
    apart = {i: path for i, path in apart.items() if path in present and path != beside[i]}
    rows = _read(folder, apart.values())
    if rows.classes:
        inner = [path for path in present if PurePosixPath(path).name == "data.yaml"]
        if inner:
            return "has no data.yaml itself", f"did you mean {_join(data, inner[0])}?"
        message = "has labels in Ultralytics' layout, but no data.yaml that names their classes"
        hint = f"write {_join(data, 'data.yaml')}: `{_data_yaml(list(apart), rows)}`"
        own = "name" if rows.classes == 1 else f"{rows.classes} names"
        return message, f"{hint}, with your own {own}{_keypoints(rows)}"
    rows = _read(folder, [path for path in beside.values() if path in present])
    if rows.classes:
        message = "has label files beside the images, but no file that names their classes"
        return message, f"write {_join(data, 'classes.txt')}: {_lines(rows.classes)}"
    lower = {path.lower(): path for path in present}
    wanted = [str(label_file(PurePosixPath(str(image).lower()))) for image in images]
    rows = _read(folder, [lower[path] for path in wanted if path in lower])
    if rows.classes and (hint := suggest_names(folder, str(images[0]))):
        return "has labels in Ultralytics' layout, but the names of the folders are others", hint
    return None


def _join(folder: str, name: str) -> str:
    return name if folder in ("", ".") else f"{folder.rstrip('/')}/{name}"


def _read(folder: Path, labels: Iterable[str]) -> _Rows:
    """Return the content of label files; other text files are ignored."""
    classes, columns = 0, set()
    for label in labels:
        text, _ = read_text(folder / label)
        rows = [_ROW.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
        for row in rows:
            if row is not None and None not in rows:
                classes = max(classes, int(row[1]) + 1)
                columns.add(1 + len(row[2].split()))
    return _Rows(classes=classes, columns=frozenset(columns))


def _data_yaml(images: list[PurePosixPath], rows: _Rows) -> str:
    """Return the file's content in one line; a folder without a split in its name is train's."""
    places: dict[str, dict[str, None]] = {split: {} for split in SPLITS}
    for folder in sorted({image.parent for image in images}):
        parts = [part.lower() for part in folder.parts]
        found = [(s, word) for s, words in SPLITS.items() for word in words if word in parts]
        split, word = found[0] if found else ("train", "images")
        end = max(parts.index(word), parts.index("images")) + 1
        places[split]["/".join(folder.parts[:end])] = None
    keys = [
        f"{split}: {scalar(next(iter(found))) if len(found) == 1 else _listed(found)}"
        for split, found in places.items()
        if found
    ]
    names = [f"class_{number}" for number in range(rows.classes)]
    shown = names if len(names) <= _MOST else ["…"]
    return "{" + ", ".join([*keys, f"names: [{', '.join(shown)}]"]) + "}"


def _listed(places: Iterable[str]) -> str:
    return f"[{', '.join(map(scalar, places))}]"


def _keypoints(rows: _Rows) -> str:
    """Return what keypoints need, if every line has the same number of values beyond a box."""
    more = next(iter(rows.columns)) - 5 if len(rows.columns) == 1 else 0
    dims = next((dims for dims in (3, 2) if more and more % dims == 0), 0)
    return f"; for keypoints `kpt_shape: [{more // dims}, {dims}]`, too" if dims else ""


def _lines(count: int) -> str:
    if count == 1:
        return "one line, the name of the class"
    return f"{count} lines, the names of class 0 to {count - 1}"
