"""Read a COCO annotation file (images, categories, annotations) and report every mistake with its
id.

It opens no image and needs only the standard library, because `buildsys check` uses it, too. The
format is that of https://cocodataset.org/#format-data; optional parts that are not needed here may
be missing. Coordinates are returned as shares of the image's width and height (`labels.Object`).
"""

import bisect
import json
import math
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from buildsys.steps.lib.datasets import labels
from buildsys.steps.lib.datasets.base_names import base_name
from buildsys.steps.lib.datasets.labels import (
    Finding,
    Object,
    is_class_name,
    make_outlined,
    mistake,
)
from buildsys.steps.lib.datasets.pixel_boxes import share_box, show
from buildsys.steps.lib.datasets.placed_objects import describe_excess, find_error
from buildsys.steps.lib.files import foreign
from buildsys.steps.lib.files.hidden_files import is_hidden
from buildsys.steps.lib.images.decoding import SUFFIXES

_RLE = "a run-length mask; outlines are lists of points (`iscrowd: 1` leaves the annotation out)"
_Point = tuple[float, float]
_Box = tuple[float, float, float, float]
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
"""A word in a name, which begins after a separator, with a capital or with a digit: left_eye,
LeftEye, L-eye, l1.
"""
_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"))
_OTHER_SIDE = {one: other for pair in _SIDES for one, other in (pair, pair[::-1])}
_SIDE = re.compile("|".join(word for word in _OTHER_SIDE if len(word) > 1))
_APART = 3.0
"""Pixels between an edge of a `bbox` and its outline: beyond rounding."""
_LARGEST = 2**53
"""The largest range in which a float64 holds every whole number."""


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """One entry of `images`; `name` is relative to the split's folder, `width` and `height` are in
    pixels.
    """

    id: int
    name: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height."""
        return self.width, self.height


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The categories (id, name) by ascending id; a category's index is its class. For pose, also
    the keypoints' names, their sigmas if given, and their permutation in a mirrored image.
    """

    categories: tuple[tuple[int, str], ...]
    shape: str
    keypoints: tuple[str, ...] = ()
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class names."""
        return tuple(name for _, name in self.categories)

    @cached_property
    def classes(self) -> dict[int, int]:
        """Return the class of each category by its id."""
        return {number: index for index, (number, _) in enumerate(self.categories)}

    @cached_property
    def label_layout(self) -> labels.Layout:
        """Return what a label of this file is."""
        shape = "outline" if self.shape == "outline" else "box"
        return labels.Layout(classes=self.names, keypoints=len(self.keypoints), dims=3, shape=shape)


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """A correct annotation file. `objects`: by image, in the file's order, not clipped; `crowds`:
    number of annotations of groups (`iscrowd: 1`), which are omitted; `apart`: annotations whose
    `bbox` is not around their outline, which counts; `ids`: of the objects' annotations.
    """

    layout: Layout
    images: tuple[ImageEntry, ...]
    objects: tuple[tuple[Object, ...], ...]
    crowds: int
    ids: tuple[tuple[int, ...], ...]
    apart: tuple[str, ...] = ()


SLASHES = r"write `/` between folders: in every `file_name`, replace `\`, which JSON writes as `\\`, by `/`"
"""What to do about names with backslashes."""


@dataclass(kw_only=True)
class Notes:
    """The mistakes found so far, as (message, hint), and the readers that add to them. `apart`: see
    `AnnotationFile`.
    """

    mistakes: list[tuple[str, str]] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    backslashes: list[tuple[str, str]] = field(default_factory=list)
    """The images whose `file_name` has a backslash in it, as (place, name)."""
    beyond: list[str] = field(default_factory=list)
    """Boxes that exceed their image, which is a mistake only if they look like corners."""
    boxes: int = 0
    fits_corners: bool = True
    """Whether every box can be two corners: it can for an object that fills most of its image."""

    @property
    def corners(self) -> bool:
        """Return whether boxes look like two corners: each can be, and half of them exceed their
        image as x, y, width, height, as those of objects in its right or lower half do.
        """
        return self.fits_corners and 2 * len(self.beyond) >= self.boxes

    def add(self, message: str, hint: str = "") -> None:
        """Add one mistake."""
        self.mistakes.append((message, hint))

    def rows(
        self, data: dict[str, Any], key: str, empty: str = ""
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return the objects of a list with their indices; anything else is added as a mistake and
        omitted. `empty`: the mistake to add for an empty list; "" allows one.
        """
        rows = data.get(key)
        if not isinstance(rows, list):
            what = "is missing" if key not in data else f"is a list, not {show(rows)}"
            self.add(f"`{key}` {what}")
            return []
        if not rows and empty:
            self.add(f"`{key}` is empty: {empty}")
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                self.add(f"{key}[{index}] is an object, not {show(row)}")
        return [(index, row) for index, row in enumerate(rows) if isinstance(row, dict)]

    def own_id(self, row: dict[str, Any], key: str, index: int, seen: set[int]) -> int | None:
        """Return an entry's `id`, which must be unique."""
        number = self.whole(row, "id", f"{key}[{index}]")
        if number is not None and number in seen:
            self.add(f"{key}[{index}]: the `id` {number} stands here a second time")
        elif number is not None:
            seen.add(number)
        return number

    def whole(
        self, row: dict[str, Any], key: str, where: str, least: int | None = None
    ) -> int | None:
        """Return a whole number, or None (with a mistake added) if it is missing or not one."""
        value = row.get(key)
        if type(value) in (int, float) and abs(value) < _LARGEST and value == int(value):  # type: ignore[arg-type]
            number = int(value)
            if least is None or number >= least:
                return number
        above = f" from {least}" if least is not None else ""
        what = "is missing" if key not in row else f"is a whole number{above}, not {show(value)}"
        self.add(f"{where}: `{key}` {what}")
        return None


def parse(
    data: bytes, label: str, shape: str, base_names: bool = False
) -> tuple[AnnotationFile | None, list[Finding]]:
    """Return a file's content, None if anything is wrong with it, and the mistakes. `base_names`:
    use only the name without folders of each `file_name`.
    """
    found = _load(data, label)
    if isinstance(found, Finding):
        return None, [found]
    notes = Notes()
    layout = read_layout(found, shape, notes)
    images, declared = _read_images(found, notes, base_names)
    objects, crowds = _read_objects(found, layout, images, declared, notes)
    if crowds and not objects and not notes.mistakes:
        notes.add("every annotation is of a crowd (`iscrowd: 1`): nothing is left to learn")
    if notes.mistakes or layout is None:
        return None, [mistake(label, text, hint) for text, hint in notes.mistakes]
    order = tuple(images.values())
    return AnnotationFile(
        layout=layout,
        images=order,
        crowds=crowds,
        apart=tuple(notes.apart),
        objects=tuple(tuple(item for _, item in objects.get(image.id, ())) for image in order),
        ids=tuple(tuple(number for number, _ in objects.get(image.id, ())) for image in order),
    ), []


def file_names(data: bytes) -> tuple[str, ...]:
    """Return every `file_name` that is text, unchanged; () if the file cannot be read."""
    found = _load(data, "")
    rows = found.get("images") if isinstance(found, dict) else None
    entries = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return tuple(name for row in entries if isinstance(name := row.get("file_name"), str))


def _load(data: bytes, label: str) -> dict[str, Any] | Finding:
    """Return the top-level object of a JSON text, or a finding that says where the text is wrong."""
    instead = foreign.stand_in(data[:64])
    if instead is not None:
        return mistake(label, *instead)
    try:
        found = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        return mistake(label, message, line=error.lineno, column=error.colno)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        message = f"this is not text in UTF-8 (byte {error.start})"
        return mistake(label, message, line=line, column=1)
    except RecursionError:
        return mistake(label, "nested too deep")
    except ValueError:  # Python rejects numbers of thousands of digits
        return mistake(label, "a number in it has thousands of digits")
    if not isinstance(found, dict) or not found.keys() & {"images", "annotations", "categories"}:
        hint = "it is an object with `images`, `annotations` and `categories`"
        return mistake(label, "this is not a COCO annotation file", hint)
    return found


def _read_images(
    data: dict[str, Any], notes: Notes, base_names: bool
) -> tuple[dict[int, ImageEntry], set[int]]:
    """Return correct entries by id, and every declared id."""
    images: dict[int, ImageEntry] = {}
    declared: set[int] = set()
    names: dict[str, int] = {}
    for index, row in notes.rows(data, "images", "a split has a picture at least"):
        number = notes.own_id(row, "images", index, declared)
        where = f"image {number}" if number is not None else f"images[{index}]"
        sides = [notes.whole(row, key, where, least=1) for key in ("width", "height")]
        name = _image_name(row, where, notes, base_names)
        if name is not None and name in names:
            notes.add(f"{where}: {show(name)} is image {names[name]} already")
        elif name is not None and number is not None:
            names[name] = number
            if sides[0] and sides[1]:
                images[number] = ImageEntry(id=number, name=name, width=sides[0], height=sides[1])
    if notes.backslashes:
        where, name = notes.backslashes[0]
        count = len(notes.backslashes)
        more = f", as {count - 1} others have" if count > 1 else ""
        notes.add(f"{where}: `file_name` {show(name)} has a backslash in it{more}", SLASHES)
    return images, declared


def _image_name(row: dict[str, Any], where: str, notes: Notes, base_names: bool) -> str | None:
    """Return `file_name`, normalized or without folders, or None with a mistake added."""
    name = row.get("file_name")
    if not isinstance(name, str) or not name.strip():
        wrong = "is missing" if name is None else f"is a file's name, not {show(name)}"
        notes.add(f"{where}: `file_name` {wrong}")
        return None
    name = base_name(name) if base_names else name
    if "\\" in name:
        notes.backslashes.append((where, name))
        return None
    problem = name_problem(name)
    if problem:
        notes.add(f"{where}: `file_name` {show(name)} {problem[0]}", problem[1])
        return None
    return posixpath.normpath(name)


def _read_objects(
    data: dict[str, Any],
    layout: Layout | None,
    images: dict[int, ImageEntry],
    declared: set[int],
    notes: Notes,
) -> tuple[dict[int, list[tuple[int, Object]]], int]:
    """Return the objects by image, each with its annotation's id, and the number of omitted crowd
    annotations.
    """
    objects: dict[int, list[tuple[int, Object]]] = {}
    seen: set[int] = set()
    crowds, rows = 0, notes.rows(data, "annotations")
    outlined = any(row.get("segmentation") for _, row in rows)
    if rows and layout is not None and layout.shape == "outline" and not outlined:
        notes.add("no annotation has a `segmentation`: segment needs the points around", "")
        return objects, crowds
    for index, row in rows:
        number = notes.own_id(row, "annotations", index, seen)
        where = f"annotation {number}" if number is not None else f"annotations[{index}]"
        image_id = notes.whole(row, "image_id", where)
        if image_id is not None and image_id not in declared:
            notes.add(f"{where}: `image_id` {image_id} is not an image of this file")
        crowd = row.get("iscrowd", 0)
        if type(crowd) not in (bool, int, float) or crowd not in (0, 1):
            notes.add(f"{where}: `iscrowd` is 0 or 1, not {show(crowd)}")
        elif crowd:
            crowds += 1
            continue
        image = images.get(image_id) if image_id is not None else None
        item = read_object(row, where, layout, image, notes)
        if item is not None and image is not None and number is not None:
            objects.setdefault(image.id, []).append((number, item))
    if notes.corners and layout is not None and layout.shape != "outline":
        hint = "a `bbox` is x, y, width, height; these look like two corners"
        notes.mistakes += [(message, hint) for message in notes.beyond]
    return objects, crowds


def read_object(
    row: dict[str, Any], where: str, layout: Layout | None, image: ImageEntry | None, notes: Notes
) -> Object | None:
    """Return one annotation's object; None if it, its image or its category has a mistake."""
    category = notes.whole(row, "category_id", where)
    known = layout.classes if layout is not None else {}
    if layout is not None and category is not None and category not in known:
        few = ", ".join(f"{number} {name}" for number, name in layout.categories[:12])
        message = f"{where}: `category_id` {category} is not a category of this file"
        notes.add(message, f"there are: {few}{', …' if len(known) > 12 else ''}")
    boxed = layout is None or layout.shape != "outline" or row.get("bbox") is not None
    box = _read_box(row, where, image, notes) if boxed else None
    if layout is None or image is None or category not in known or (boxed and box is None):
        return None
    item = _read_shape(row, where, known[category], box, layout, image, notes)
    problem = find_error(item, image.size, layout.label_layout) if item is not None else ""
    if problem:
        notes.add(f"{where}: {problem}{_of(image)}", "coordinates are in pixels of that image")
    return None if problem else item


def _read_shape(
    row: dict[str, Any],
    where: str,
    category: int,
    box: _Box | None,
    layout: Layout,
    image: ImageEntry,
    notes: Notes,
) -> Object | None:
    """Return the object of a box, with keypoints if needed, or of an outline."""
    if layout.shape == "outline":
        outline = _read_outline(row, where, image, notes)
        if outline is None:
            return None
        item = make_outlined(category, outline)
        if box is not None and _is_apart(box, item.box, image):
            notes.apart.append(where)
        return item
    points: tuple[tuple[float, float, float], ...] | None = ()
    if layout.shape == "keypoints":
        points = _read_keypoints(row, where, len(layout.keypoints), image, notes)
    if box is None or points is None:
        return None
    return Object(category=category, box=box, keypoints=points)


def _read_box(
    row: dict[str, Any], where: str, image: ImageEntry | None, notes: Notes
) -> _Box | None:
    """Return `bbox` as centre and size in shares."""
    numbers = numbers_of(row.get("bbox"))
    if numbers is None or len(numbers) != 4:
        what = "is missing" if row.get("bbox") is None else "is"
        notes.add(f"{where}: `bbox` {what}{_of_four(row.get('bbox'))}")
        return None
    x, y, w, h = numbers
    if w < 0 or h < 0:
        hint = "a `bbox` is x, y, width, height in pixels"
        notes.add(f"{where}: its box has a negative size: {w:g} x {h:g} px", hint)
        return None
    if image is None:
        return None
    box = share_box((x, y, x + w, y + h), image.size)
    far = describe_excess(box, image.size)
    notes.beyond += [f"{where}: its box reaches {far}{_of(image)}"] if far else []
    notes.boxes += 1
    notes.fits_corners &= x >= 0 and y >= 0 and x < w <= image.width and y < h <= image.height
    return box


def _of(image: ImageEntry) -> str:
    return f" of {show(image.name)}, which is {image.width}x{image.height}"


def _is_apart(box: _Box, around: _Box, image: ImageEntry) -> bool:
    """Return whether an edge of a box is further than rounding from that of another."""
    sides = [
        [(one[axis] + sign * one[axis + 2] / 2) * image.size[axis] for one in (box, around)]
        for axis in (0, 1)
        for sign in (-1, 1)
    ]
    return any(abs(a - b) > _APART for a, b in sides)


def _of_four(value: Any) -> str:
    if value is None:
        return ": x, y, width, height in pixels"
    shown = f"{len(value)} of them" if isinstance(value, list) and len(value) != 4 else show(value)
    if isinstance(value, list) and len(value) == 4:
        shown = f"[{', '.join(show(item) for item in value)}]"
    return f" four numbers, x, y, width, height in pixels, not {shown}"


def _read_outline(
    row: dict[str, Any], where: str, image: ImageEntry, notes: Notes
) -> tuple[tuple[float, float], ...] | None:
    """Return `segmentation` as one outline in shares; several polygons are joined by lines of zero
    width.
    """
    given = row.get("segmentation")
    if isinstance(given, dict):
        notes.add(f"{where}: `segmentation` is {_RLE}")
        return None
    polygons = []
    for polygon in given if isinstance(given, list) else []:
        numbers = numbers_of(polygon)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            notes.add(f"{where}: `segmentation` is lists of x, y of three points or more")
            return None
        polygons.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    if not polygons:
        what = "is missing" if given is None else f"is a list of outlines, not {show(given)}"
        what = "is empty" if given == [] else what
        notes.add(f"{where}: `segmentation` {what}: segment needs the points around")
        return None
    wide, tall = image.size
    return tuple((x / wide, y / tall) for x, y in _join(polygons))


def _join(polygons: list[list[_Point]]) -> list[_Point]:
    """Return one outline for several polygons, joined forth and back along the shortest line
    between them.
    """
    whole = list(polygons[0])
    for polygon in polygons[1:]:
        i, j = _find_nearest(whole, polygon)
        whole[i:i] = [whole[i], *polygon[j:], *polygon[: j + 1]]
    return whole


def _find_nearest(points: list[_Point], others: list[_Point]) -> tuple[int, int]:
    """Return the indices of the first two points with the shortest distance.

    The others are sorted by x: only those that are nearer in x than the best pair are compared.
    """
    order = sorted(range(len(others)), key=lambda j: others[j][0])
    sides = [others[j][0] for j in order]
    best = (math.inf, 0, 0)
    for i, (x, y) in enumerate(points):
        start = bisect.bisect_left(sides, x)
        for places in (range(start, len(sides)), range(start - 1, -1, -1)):
            for place in places:
                far = (sides[place] - x) ** 2
                if far > best[0]:
                    break
                j = order[place]
                best = min(best, (far + (others[j][1] - y) ** 2, i, j))
    return best[1], best[2]


def _read_keypoints(
    row: dict[str, Any], where: str, count: int, image: ImageEntry, notes: Notes
) -> tuple[tuple[float, float, float], ...] | None:
    """Return `keypoints` as x, y (shares) and visibility; an unlabelled point is (0, 0, 0)."""
    numbers = numbers_of(row.get("keypoints"))
    if numbers is None or len(numbers) != 3 * count:
        had = f", not {len(numbers)}" if numbers is not None else ""
        notes.add(f"{where}: `keypoints` are {3 * count} numbers: x, y, visibility of each{had}")
        return None
    points = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    if any(v not in (0, 1, 2) for *_, v in points):
        notes.add(f"{where}: a keypoint's visibility is 0, 1 or 2")
        return None
    wide, high = image.size
    return tuple((x / wide, y / high, v) if v else (0.0, 0.0, 0.0) for x, y, v in points)


def name_problem(name: str) -> tuple[str, str] | None:
    """Return why a `file_name` cannot be an image in its split's folder, and what to do; None if it
    can.
    """
    parts = name.split("/")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a character in it that no file's name has", ""
    if name.startswith("/") or name[1:3] in (":/", ":"):
        return "is absolute: it means nothing on another machine", "it starts at `images`"
    if posixpath.normpath(name).split("/")[0] == "..":
        return "leads out of its folder", "`file_name` starts at the folder that `images` names"
    if any(map(is_hidden, parts)):
        return "is hidden, and hidden files are none of a dataset's", "rename it"
    if posixpath.splitext(name)[1].lower() not in SUFFIXES:
        return "has no ending of a picture", "there are: " + ", ".join(sorted(SUFFIXES))
    return None


def read_layout(data: dict[str, Any], shape: str, notes: Notes) -> Layout | None:
    """Return the categories; None if one has a mistake."""
    before = len(notes.mistakes)
    rows = notes.rows(data, "categories", "there is nothing to find")
    seen: set[int] = set()
    names: dict[str, int] = {}
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for index, row in rows:
        number = notes.own_id(row, "categories", index, seen)
        where = f"category {number}" if number is not None else f"categories[{index}]"
        name = row.get("name")
        if not isinstance(name, str) or not is_class_name(name):
            what = "is missing" if "name" not in row else f"is a word, not {show(name)}"
            notes.add(f"{where}: `name` {what}")
        elif name in names:
            notes.add(f"{where}: {show(name)} is the name of category {names[name]} already")
        elif number is not None:
            names[name] = number
            found[number] = (name, row)
    if len(notes.mistakes) > before or not found:
        return None
    categories = tuple((number, found[number][0]) for number in sorted(found))
    if shape != "keypoints":
        return Layout(categories=categories, shape=shape)
    points = [(number, found[number][1]) for number in sorted(found)]
    return _read_points(categories, points, notes)


def _read_points(
    categories: tuple[tuple[int, str], ...], rows: list[tuple[int, dict[str, Any]]], notes: Notes
) -> Layout | None:
    """Return the layout with keypoints, which must be the same in every category."""
    first: Layout | None = None
    for number, row in rows:
        names = row.get("keypoints")
        if not isinstance(names, list) or not names or not all(type(n) is str for n in names):
            what = "is missing" if names is None else "is a list of words"
            notes.add(f"category {number}: `keypoints` {what}: pose needs the points' names")
            return None
        if first is not None and tuple(names) != first.keypoints:
            notes.add(f"category {number}: its `keypoints` are not those of category {rows[0][0]}")
            return None
        sigmas = row.get("sigmas", [])
        numbers = numbers_of(sigmas)
        if numbers is None or len(numbers) not in (0, len(names)) or min(numbers, default=1) <= 0:
            notes.add(f"category {number}: `sigmas` are numbers above 0, one a keypoint")
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
    """Return for each point its counterpart in a mirrored image; () if unknown. `flip_idx` is a key
    of our own (`write_coco`); otherwise the words left, right, l and r in the names decide. One
    side without a counterpart makes all unknown, because a wrong order is worse than none.
    """
    if isinstance(given, list) and sorted(map(repr, given)) == sorted(map(repr, range(len(names)))):
        return tuple(given)
    places = {name: index for index, name in enumerate(names)}
    pairs = []
    for index, name in enumerate(names):
        words = _WORD.findall(name)
        swapped = (_swap_words(name) if len(words) > 1 else name, _swap_parts(name))
        other = next((text for text in swapped if text != name and text in places), name)
        if other == name and (_has_side(words) or not places.keys().isdisjoint(_twins(name))):
            return ()
        pairs.append(places.get(other, index))
    unchanged = list(range(len(names)))
    if pairs == unchanged or [pairs[pair] for pair in pairs] != unchanged:
        return ()
    return tuple(pairs)


def _has_side(words: list[str]) -> bool:
    """Return whether a name has a side: a word that begins with left or right, or l or r beside
    another word. L1 to L5 are vertebrae.
    """
    lower = [word.lower() for word in words if word.isalpha()]
    return any(word.startswith(("left", "right")) for word in lower) or (
        len(lower) > 1 and not {"l", "r"}.isdisjoint(lower)
    )


def _twins(name: str) -> Iterator[str]:
    """Yield a name with each l or r in it exchanged: lhip, rhip."""
    for index, letter in enumerate(name):
        if letter in _OTHER_SIDE:
            yield f"{name[:index]}{_OTHER_SIDE[letter]}{name[index + 1 :]}"


def _swap_words(name: str) -> str:
    """Return a name with the words left and right, or l and r, exchanged."""
    return _WORD.sub(lambda word: _OTHER_SIDE.get(word[0], word[0]), name)


def _swap_parts(name: str) -> str:
    """Return a name with left and right exchanged, also within a word: lefteye, righteye."""
    return _SIDE.sub(lambda side: _OTHER_SIDE[side[0]], name)


def numbers_of(value: Any) -> list[float] | None:
    """Return a list of finite numbers; None for anything else."""
    if not isinstance(value, list):
        return None
    fine = all(type(n) in (int, float) and -_LARGEST < n < _LARGEST for n in value)
    return [float(number) for number in value] if fine else None
