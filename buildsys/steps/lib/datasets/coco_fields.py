"""The fields of a COCO annotation file: types, ids, names, categories; mistakes as text."""

import posixpath
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from buildsys.steps.lib.datasets.ultralytics_layout import SUFFIXES

_LONGEST = 80
_LARGEST = 2**53
"""Beyond it a float64 no longer holds every whole number."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The categories (id, name) by ascending id: a category's place is its class. For pose the names
    of the keypoints, their sigmas where they are given, and which is which in a mirror.
    """

    categories: tuple[tuple[int, str], ...]
    shape: str
    keypoints: tuple[str, ...] = ()
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(name for _, name in self.categories)


@dataclass(kw_only=True)
class Notes:
    """Mistakes so far, as (message, hint), and the readers that tell them."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, message: str, hint: str = "") -> None:
        """One mistake more."""
        self.told.append((message, hint))

    def rows(
        self, data: dict[str, Any], key: str, empty: str = ""
    ) -> list[tuple[int, dict[str, Any]]]:
        """The objects of a list with their places; what is no object is told and left out.

        `empty`: what is wrong with a list that holds nothing, where something is.
        """
        rows = data.get(key)
        if not isinstance(rows, list):
            what = "is missing" if key not in data else f"is a list, not {show(rows)}"
            self.tell(f"`{key}` {what}")
            return []
        if not rows and empty:
            self.tell(f"`{key}` is empty: {empty}")
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                self.tell(f"{key}[{index}] is an object, not {show(row)}")
        return [(index, row) for index, row in enumerate(rows) if isinstance(row, dict)]

    def own_id(self, row: dict[str, Any], key: str, index: int, seen: set[int]) -> int | None:
        """An entry's `id`, which no other entry has."""
        number = self.whole(row, "id", f"{key}[{index}]")
        if number is not None and number in seen:
            self.tell(f"{key}[{index}]: the `id` {number} stands here a second time")
        elif number is not None:
            seen.add(number)
        return number

    def whole(
        self, row: dict[str, Any], key: str, where: str, least: int | None = None
    ) -> int | None:
        """A whole number; None where it is missing or something else."""
        value = row.get(key)
        fine = type(value) is int and abs(value) < _LARGEST and (least is None or value >= least)
        if fine:
            return int(value)  # type: ignore[arg-type]
        above = f" from {least}" if least is not None else ""
        what = "is missing" if key not in row else f"is a whole number{above}, not {show(value)}"
        self.tell(f"{where}: `{key}` {what}")
        return None


def show(value: Any) -> str:
    """A value as messages show it."""
    if isinstance(value, str):
        cut = value if len(value) <= _LONGEST else f"{value[:50]}…{value[-25:]}"
        return f'"{cut}"'
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)[:_LONGEST]


def name_problem(name: str) -> tuple[str, str] | None:
    """Why a `file_name` is none of a picture below its split's folder, and what to do."""
    parts = name.split("/")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a character in it that no file's name has", ""
    if "\\" in name:
        return "has a backslash in it", "folders are separated by `/` on every machine"
    if name.startswith("/") or name[1:3] in (":/", ":"):
        return "is absolute: it means nothing on another machine", "it starts at `images`"
    if posixpath.normpath(name).split("/")[0] == "..":
        return "leads out of its folder", "`file_name` starts at the folder that `images` names"
    if any(part.startswith(".") and part not in (".", "..") for part in parts):
        return "is hidden, and hidden files are none of a dataset's", "rename it"
    if posixpath.splitext(name)[1].lower() not in SUFFIXES:
        return "has no ending of a picture", "there are: " + ", ".join(sorted(SUFFIXES))
    return None


def read_layout(data: dict[str, Any], shape: str, notes: Notes) -> Layout | None:
    """The categories; None where something is wrong with them."""
    before = len(notes.told)
    rows = notes.rows(data, "categories", "there is nothing to find")
    seen: set[int] = set()
    names: dict[str, int] = {}
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for index, row in rows:
        number = notes.own_id(row, "categories", index, seen)
        where = f"category {number}" if number is not None else f"categories[{index}]"
        name = row.get("name")
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            what = "is missing" if "name" not in row else f"is a word, not {show(name)}"
            notes.tell(f"{where}: `name` {what}")
        elif name in names:
            notes.tell(f"{where}: {show(name)} is the name of category {names[name]} already")
        elif number is not None:
            names[name] = number
            found[number] = (name, row)
    if len(notes.told) > before or not found:
        return None
    categories = tuple((number, found[number][0]) for number in sorted(found))
    if shape != "keypoints":
        return Layout(categories=categories, shape=shape)
    points = [(number, found[number][1]) for number in sorted(found)]
    return _read_points(categories, points, notes)


def _read_points(
    categories: tuple[tuple[int, str], ...], rows: list[tuple[int, dict[str, Any]]], notes: Notes
) -> Layout | None:
    """With keypoints, which every category has alike."""
    first: Layout | None = None
    for number, row in rows:
        names = row.get("keypoints")
        if not isinstance(names, list) or not names or not all(type(n) is str for n in names):
            what = "is missing" if names is None else "is a list of words"
            notes.tell(f"category {number}: `keypoints` {what}: pose needs the points' names")
            return None
        if first is not None and tuple(names) != first.keypoints:
            notes.tell(f"category {number}: its `keypoints` are not those of category {rows[0][0]}")
            return None
        sigmas = row.get("sigmas", [])
        numbers = numbers_of(sigmas)
        if numbers is None or len(numbers) not in (0, len(names)) or min(numbers, default=1) <= 0:
            notes.tell(f"category {number}: `sigmas` are numbers above 0, one a keypoint")
            return None
        if first is None:
            first = Layout(
                categories=categories,
                shape="keypoints",
                keypoints=tuple(names),
                sigmas=tuple(numbers),
                flip=_mirror(names, row.get("flip_idx")),
            )
    return first


def _mirror(names: list[str], given: Any) -> tuple[int, ...]:
    """Which point takes the place of which in a mirrored picture; () where nobody says it.

    `flip_idx` is a key of our own (`write_coco`); elsewhere left and right in the names tell it.
    """
    if isinstance(given, list) and sorted(map(repr, given)) == sorted(map(repr, range(len(names)))):
        return tuple(given)
    swapped = [_swap(name) for name in names]
    if swapped == names or not set(swapped) <= set(names):
        return ()
    return tuple(names.index(name) for name in swapped)


def _swap(name: str) -> str:
    for left, right in (("left", "right"), ("Left", "Right")):
        if left in name or right in name:
            return right.join(part.replace(right, left) for part in name.split(left))
    return name


def numbers_of(value: Any) -> list[float] | None:
    """A list of finite numbers; None for anything else."""
    if not isinstance(value, list):
        return None
    fine = all(type(n) in (int, float) and -_LARGEST < n < _LARGEST for n in value)
    return [float(number) for number in value] if fine else None
