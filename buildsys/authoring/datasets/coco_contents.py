"""What an annotation file in COCO format contains, as far as its place in a recipe depends on it.

A file may have hundreds of megabytes: it is parsed once for all these questions.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.errors import InputError
from buildsys.files import read_regular, stat_line
from buildsys.steps.lib.datasets.formats.coco_file import Notes, read_layout
from buildsys.steps.lib.datasets.pixel_boxes import show

Row = dict[str, object]
"""An entry of one of the lists of a file."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A category that no annotation uses, and that is the `supercategory` of all others.

    Roboflow writes the name of the project like this, as the first category.
    """

    id: int
    name: str
    keypoints: bool

    @property
    def message(self) -> str:
        """Return what is known about it; the consequence follows."""
        return (
            f"category {self.id} {show(self.name)} has no annotation: it is only the `supercategory` of"
            " the others, as in Roboflow's exports"
        )

    @property
    def hint(self) -> str:
        """Return what to remove."""
        entry = f'{{"id": {self.id}, "name": {show(self.name)}, …}}'
        return f"remove `{entry}` from `categories` of every annotation file"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The content of an annotation file; the fields after `is_object` are empty if it is not one.

    `is_object`: whether it is a JSON object. `file_names`: those that are text, unchanged.
    `keypoints`: whether its categories, without their `group`, have keypoints. `without_boxes`:
    whether it has no boxes, though it has annotations or no categories; `captions`: whether it has
    annotations, but neither.
    """

    is_object: bool = True
    file_names: tuple[str, ...] = ()
    keypoints: bool = False
    group: Group | None = None
    without_boxes: bool = False
    captions: bool = False


def read_contents(path: Path, label: str) -> Contents:
    """Return the content of an annotation file. Raises InputError if it cannot be read."""
    try:
        return _read(path, stat_line(path.stat()))
    except OSError as error:
        raise InputError.at(label, f"cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=16)
def _read(path: Path, stat: str) -> Contents:
    """Read once for all questions; `stat` changes when the file does."""
    return _parse(read_regular(path))


def _parse(data: bytes) -> Contents:
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):  # reading the dataset reports it
        return Contents(is_object=False)
    if not isinstance(found, dict):
        return Contents(is_object=False)
    annotations = _rows(found.get("annotations"))
    named = "categories" in found
    boxes = any("bbox" in row for row in annotations)
    without_boxes = not boxes and bool(annotations or not named)
    names = (row.get("file_name") for row in _rows(found.get("images")))
    categories = _rows(found.get("categories"))
    group = _find_group(categories, annotations)
    kept = [row for row in categories if group is None or row.get("id") != group.id]
    return Contents(
        file_names=tuple(name for name in names if isinstance(name, str)),
        keypoints=read_layout({"categories": kept}, "keypoints", Notes()) is not None,
        group=group,
        without_boxes=without_boxes,
        captions=without_boxes and not named and bool(annotations),
    )


def _find_group(categories: list[Row], annotations: list[Row]) -> Group | None:
    for row in categories:
        number, name = row.get("id"), row.get("name")
        others = [other.get("supercategory") for other in categories if other is not row]
        if not others or any(other != name for other in others):
            continue
        if type(number) is not int or not isinstance(name, str) or row.get("supercategory") == name:
            continue
        if not any(annotation.get("category_id") == number for annotation in annotations):
            return Group(id=number, name=name, keypoints="keypoints" in row)
    return None


def _rows(rows: object) -> list[Row]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
