"""COCO annotation files read to the end: what they say, and every mistake by id. No picture is opened.

Standard library alone: `buildsys check` and the steps ask alike. The format is that of
https://cocodataset.org/#format-data; what is optional there and not needed here may be missing.
"""

import json
import posixpath
from dataclasses import dataclass
from typing import Any

from buildsys.steps.lib.datasets.coco_fields import Layout, Notes, name_problem, read_layout, show
from buildsys.steps.lib.datasets.coco_objects import read_object
from buildsys.steps.lib.datasets.ultralytics_layout import Object


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """What is wrong, and what to do; line and column count from 1, 0: the whole file."""

    path: str
    message: str
    hint: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One entry of `images`; `name` from the split's folder, `width` and `height` in pixels."""

    id: int
    name: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """An annotation file without a mistake. `objects`: those of each picture, in the file's order;
    `crowds`: annotations of whole groups (`iscrowd: 1`), which are left out.
    """

    layout: Layout
    pictures: tuple[Picture, ...]
    objects: tuple[tuple[Object, ...], ...]
    crowds: int


def parse(data: bytes, label: str, shape: str) -> tuple[Sheet | None, list[Mistake]]:
    """A file's content; no sheet where anything is wrong with it."""
    found = _load(data, label)
    if isinstance(found, Mistake):
        return None, [found]
    notes = Notes()
    layout = read_layout(found, shape, notes)
    pictures, declared = _read_pictures(found, notes)
    objects, crowds = _read_objects(found, layout, pictures, declared, notes)
    if crowds and not objects and not notes.told:
        notes.tell("every annotation is of a crowd (`iscrowd: 1`): nothing is left to learn")
    if notes.told or layout is None:
        return None, [Mistake(path=label, message=text, hint=hint) for text, hint in notes.told]
    order = tuple(pictures.values())
    return Sheet(
        layout=layout,
        pictures=order,
        crowds=crowds,
        objects=tuple(tuple(objects.get(picture.id, ())) for picture in order),
    ), []


def _load(data: bytes, label: str) -> dict[str, Any] | Mistake:
    """The object at the top of a JSON text, or where the text is broken."""
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        return Mistake(path=label, message=message, line=error.lineno, column=error.colno)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"this is no text in UTF-8 (byte {error.start})"
        return Mistake(path=label, message=message, line=line, column=1)
    except RecursionError:
        return Mistake(path=label, message="nested too deep")
    except ValueError:  # Python reads no number of thousands of digits
        return Mistake(path=label, message="a number in it has thousands of digits")
    if not isinstance(found, dict) or not found.keys() & {"images", "annotations", "categories"}:
        hint = "it is an object with `images`, `annotations` and `categories`"
        return Mistake(path=label, message="this is no COCO annotation file", hint=hint)
    return found


def _read_pictures(data: dict[str, Any], notes: Notes) -> tuple[dict[int, Picture], set[int]]:
    """Whole entries by id, and every id that is declared."""
    pictures: dict[int, Picture] = {}
    declared: set[int] = set()
    names: dict[str, int] = {}
    for index, row in notes.rows(data, "images", "a split has a picture at least"):
        number = notes.own_id(row, "images", index, declared)
        where = f"image {number}" if number is not None else f"images[{index}]"
        sides = [notes.whole(row, key, where, least=1) for key in ("width", "height")]
        name = _picture_name(row, where, notes)
        if name is not None and name in names:
            notes.tell(f"{where}: {show(name)} is image {names[name]} already")
        elif name is not None and number is not None:
            names[name] = number
            if sides[0] and sides[1]:
                pictures[number] = Picture(id=number, name=name, width=sides[0], height=sides[1])
    return pictures, declared


def _picture_name(row: dict[str, Any], where: str, notes: Notes) -> str | None:
    """`file_name` without detours, or what is wrong with it told."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip():
        wrong = "is missing" if name is None else f"is a file's name, not {show(name)}"
        notes.tell(f"{where}: `file_name` {wrong}")
        return None
    problem = name_problem(name)
    if problem:
        notes.tell(f"{where}: `file_name` {show(name)} {problem[0]}", problem[1])
        return None
    return posixpath.normpath(name)


def _read_objects(
    data: dict[str, Any],
    layout: Layout | None,
    pictures: dict[int, Picture],
    declared: set[int],
    notes: Notes,
) -> tuple[dict[int, list[Object]], int]:
    """Objects by picture, and how many annotations of crowds were left out."""
    objects: dict[int, list[Object]] = {}
    seen: set[int] = set()
    crowds, rows = 0, notes.rows(data, "annotations")
    outlined = any(row.get("segmentation") for _, row in rows)
    if rows and layout is not None and layout.shape == "outline" and not outlined:
        notes.tell("no annotation has a `segmentation`: segment needs the points around", "")
        return objects, crowds
    for index, row in rows:
        number = notes.own_id(row, "annotations", index, seen)
        where = f"annotation {number}" if number is not None else f"annotations[{index}]"
        image = notes.whole(row, "image_id", where)
        if image is not None and image not in declared:
            notes.tell(f"{where}: `image_id` {image} is no image of this file")
        crowd = row.get("iscrowd", 0)
        if type(crowd) is not int or crowd not in (0, 1):
            notes.tell(f"{where}: `iscrowd` is 0 or 1, not {show(crowd)}")
        elif crowd:
            crowds += 1
            continue
        picture = pictures.get(image) if image is not None else None
        item = read_object(row, where, layout, picture, notes)
        if item is not None and picture is not None:
            objects.setdefault(picture.id, []).append(item)
    return objects, crowds
