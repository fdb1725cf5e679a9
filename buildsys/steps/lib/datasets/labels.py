"""Read labels in Ultralytics' layout: find the label file of an image, and parse its lines.

`parse` reads a whole file and returns a finding for every wrong line; `read_labels` ends the step
at the first.
"""

import codecs
import dataclasses
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from buildsys.steps.lib.files import foreign
from buildsys.steps.lib.runtime.progress import fail

_SHOWN = 60
_ROUNDING = 0.01
"""How far a box of keypoints may exceed its image, as a share of its side."""
_MOST_TOLD = 100
"""Maximum number of findings of one kind in one file."""
OUTLINE = "outline"
"""Kind of the finding that an outline is used as a box; it is reported once per dataset."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem in one file; line and column count from 1, 0 means the whole file."""

    kind: str
    severity: Literal["error", "warning"]
    path: str
    line: int = 0
    column: int = 0
    message: str
    hint: str = ""

    @classmethod
    def error(
        cls, kind: str, path: str, message: str, hint: str = "", *, line: int = 0, column: int = 0
    ) -> Self:
        """Return a finding that ends the preparation; without a column, it is at the line's start."""
        column = column or min(line, 1)
        return cls(
            kind=kind,
            severity="error",
            path=path,
            line=line,
            column=column,
            message=message,
            hint=hint,
        )

    @classmethod
    def warning(cls, kind: str, path: str, message: str, hint: str = "", *, line: int = 0) -> Self:
        """Return a finding about data that is used differently than it is written, or left out."""
        found = cls.error(kind, path, message, hint, line=line)
        return dataclasses.replace(found, severity="warning")

    def __str__(self) -> str:
        """Return the form used in a step's error: file:line: message; hint."""
        line = f":{self.line}" if self.line else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.path}{line}: {self.message}{hint}"


def mistake(path: str, message: str, hint: str = "", line: int = 0, column: int = 0) -> Finding:
    """Return an error about an annotation file."""
    return Finding.error("broken-annotation", path, message, hint, line=line, column=column)


def is_class_name(word: str) -> bool:
    """Return whether a text can be a class name: it is printable and not blank."""
    return bool(word.strip()) and word.isprintable()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The content of a label line: a class index below `classes`, a box, and `keypoints` points of
    `dims` numbers; or, according to `shape`, an outline or four corners. With `folder` there are no
    label lines.
    """

    classes: tuple[str, ...]
    keypoints: int
    dims: int
    shape: str = "box"

    @cached_property
    def indices(self) -> dict[str, int]:
        """Return the index of each class by its name."""
        return {name: index for index, name in enumerate(self.classes)}


@dataclass(frozen=True, kw_only=True)
class Object:
    """One labelled object; all coordinates are shares of the image's width or height.

    They may be outside 0..1 until `placed_objects.place` has clipped them.
    """

    category: int
    box: tuple[float, float, float, float]
    """Centre x, centre y, width, height."""
    keypoints: tuple[tuple[float, float, float], ...]
    """x, y, visibility (0 unlabelled, 1 hidden, 2 visible)."""
    outline: tuple[tuple[float, float], ...] = ()
    """x, y of the points of its outline, if it is labelled by one; the box then encloses them."""


def label_path(image: PurePosixPath) -> PurePosixPath:
    """Return labels/** for images/**, for a file or folder: the last path part named `images` is
    replaced. `image` is relative to the dataset's root, so that the dataset's location does not
    matter.
    """
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return PurePosixPath(*parts)


def label_file(image: PurePosixPath) -> PurePosixPath:
    """Return the path of an image's label file: labels/**.txt for images/**, relative like `image`."""
    return label_path(image).with_suffix(".txt")


def find_labels(root: Path, image: Path) -> Path:
    """Return the path of the label file of an image of the dataset at `root`; the file may not
    exist.
    """
    return root / label_file(PurePosixPath(image.relative_to(root).as_posix()))


def decode_text(data: bytes) -> tuple[str, str]:
    """Return the text of a file in UTF-8, or UTF-16 with a byte order mark, and what is wrong with
    it.
    """
    instead = foreign.stand_in(data[:64])
    if instead is not None:
        return "", "; ".join(instead)
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if marked else "utf-8-sig"), ""
    except UnicodeDecodeError as error:
        return "", f"is not a text in UTF-8 (byte {error.start}); save it as UTF-8, or remove it"


def read_text(path: Path) -> tuple[str, str]:
    """Read a file as `decode_text` does; a file that cannot be opened is a problem, not an
    exception.
    """
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block
            return "", "is not a file"
        return decode_text(path.read_bytes())
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"


def read_labels(
    root: Path, image: Path, keypoints: int, dims: int, classes: int, shape: str = "box"
) -> list[Object]:
    """Return the objects of one image of the dataset at `root`; no label file means no objects.
    Ends the step at a wrong line.

    `shape`: box | outline | corners, see `tasks.shape_of`.
    """
    path = find_labels(root, image)
    if not path.is_file():
        return []
    text, problem = read_text(path)
    if problem:
        fail(f"{path.name} {problem}.")
    layout = Layout(classes=("",) * classes, keypoints=keypoints, dims=dims, shape=shape)
    objects, findings = parse(text, path.name, layout)
    for found in findings:
        if found.severity == "error":
            fail(f"{found}.")
    return [item for _, item in objects]


def parse(
    text: str, path: str, layout: Layout
) -> tuple[list[tuple[int, Object]], tuple[Finding, ...]]:
    """Return the objects of a label file with their line numbers, and findings about other lines.
    An object that occurs twice, at a trainer's float32 precision, counts once.
    """
    objects: list[tuple[int, Object]] = []
    findings: list[Finding] = []
    seen: dict[bytes, int] = {}
    boxes, outlines = layout.shape == "box" and not layout.keypoints, False
    read: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if line in read:  # parsing a line again costs time
            findings.append(repeated(path, number, read[line]))
            continue
        found = _parse_line(line, path, number, layout)
        if isinstance(found, Finding):
            findings.append(found)
            continue
        first = read[line] = seen.setdefault(_as_float32(line), number)
        if first != number:
            findings.append(repeated(path, number, first))
            continue
        objects.append((number, found))
        if boxes and not outlines and len(line.split()) > 6:
            outlines = True
            findings.append(_take_outline(path, number, len(line.split())))
    return objects, tuple(_shorten(findings))


def _shorten(findings: list[Finding]) -> Iterator[Finding]:
    """Yield the first findings of each kind in a file; the last of them states the number of
    others.
    """
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.kind].append(finding)
    for found in kinds.values():
        yield from found[: _MOST_TOLD - 1]
        if len(found) >= _MOST_TOLD:
            last, more = found[_MOST_TOLD - 1], len(found) - _MOST_TOLD
            message = f"{last.message}; and {more} more lines like it" if more else last.message
            yield dataclasses.replace(last, message=message)


def _take_outline(path: str, line: int, count: int) -> Finding:
    """Return the finding for the first line of a dataset of boxes that is read as an outline."""
    message = (
        f"{count} numbers are taken as an outline of {count // 2} points, and the box around it"
    )
    hint = (
        f"where they are a box and keypoints, data.yaml needs `kpt_shape: [{(count - 5) // 2}, 2]`"
    )
    return Finding.warning(OUTLINE, path, message, hint, line=line)


def repeated(path: str, line: int, first: int, image: str = "") -> Finding:
    """Return the finding for an object that is labelled again at `line`; 0 for formats without
    lines.
    """
    place = f"the same as line {first}" if line else image
    message = f"{place}: one object is labelled twice, and counts once"
    return Finding.warning("repeated-line", path, message, line=line)


def _parse_line(line: str, path: str, number: int, layout: Layout) -> Object | Finding:
    words = list(re.finditer(r"\S+", line))
    values = []
    for word in words:
        value = _number(word.group())
        if value is None:
            message = f"{word.group()[:_SHOWN]!r} is not a number"
            return Finding.error("broken-line", path, message, line=number, column=word.start() + 1)
        values.append(value)
    shape = layout.shape
    if not layout.keypoints and shape in ("box", "outline"):
        points = _count_keypoints(values)
        if points:
            message = f"{len(values)} numbers: a box and {points} keypoints with their visibility"
            hint = f"write `kpt_shape: [{points}, 3]` into data.yaml, or leave out the keypoints"
            return Finding.error(
                "broken-line", path, message, hint, line=number, column=words[0].start() + 1
            )
    if shape == "box" and not layout.keypoints and len(values) > 6 and len(values) % 2:
        shape = "outline"  # detection uses the enclosing box, as Ultralytics does
    message = count_problem(len(values), shape, layout.keypoints, layout.dims)
    if message:
        hint = _guess(values, layout)
        return Finding.error(
            "broken-line", path, message, hint, line=number, column=words[0].start() + 1
        )
    if not 0 <= values[0] < len(layout.classes) or values[0] != int(values[0]):
        last = len(layout.classes) - 1
        message = (
            f"class {values[0]:g}; `names` has 0 to {last}"
            if last
            else (f"class {values[0]:g}; `names` has 0 alone")
        )
        return Finding.error(
            "class-out-of-range", path, message, line=number, column=words[0].start() + 1
        )
    found = make_object(values, shape, layout.keypoints, layout.dims)
    return found if shape == layout.shape else dataclasses.replace(found, outline=())


def _count_keypoints(values: list[float]) -> int:
    """Return the number of keypoints of a line that is not an outline, judged by visibilities; else
    0.

    In an outline of as many numbers, every third one would have to be 0 or 1, the image's edge. That
    is so for objects that fill the image, but then the first four numbers are not a box.
    """
    marks = values[7::3]
    if len(values) < 8 or (len(values) - 5) % 3 or not set(marks) <= {0.0, 1.0, 2.0}:
        return 0
    if len(values) % 2 == 0 or 2.0 in marks:
        return len(marks)
    return len(marks) if len(marks) > 3 and _is_box_of_points(values) else 0


def _is_box_of_points(values: list[float]) -> bool:
    """Return whether a line begins with a box on the image, whose labelled points are near it."""
    x, y, w, h = values[1:5]
    points = zip(values[5::3], values[6::3], values[7::3], strict=True)
    near = all(abs(px - x) <= w and abs(py - y) <= h for px, py, v in points if v > 0)
    sides = (x - w / 2, y - h / 2, 1 - x - w / 2, 1 - y - h / 2)
    return near and min(w, h) > 0 and min(sides) >= -_ROUNDING


def count_problem(count: int, shape: str, keypoints: int, dims: int) -> str:
    """Return what is wrong with a line of `count` numbers; "" if nothing is."""
    if shape == "corners":
        wanted = "class and four corners are 9"
        return "" if count == 9 else f"{count} numbers; {wanted}"
    if shape == "outline":
        wanted = "class and outline are 1 and two for each of 3 points or more"
        return "" if count >= 7 and count % 2 else f"{count} numbers; {wanted}"
    what = "class, box and keypoints" if keypoints else "class and box"
    wanted = f"{what} are {5 + keypoints * dims}"
    return "" if count == 5 + keypoints * dims else f"{count} numbers; {wanted}"


def make_object(values: list[float], shape: str, keypoints: int, dims: int) -> Object:
    """Return the object of a line with the right count of numbers."""
    if shape in ("outline", "corners"):
        return make_outlined(int(values[0]), tuple(zip(values[1::2], values[2::2], strict=True)))
    points = [values[5 + i * dims : 5 + (i + 1) * dims] for i in range(keypoints)]
    return Object(
        category=int(values[0]),
        box=(values[1], values[2], values[3], values[4]),
        keypoints=tuple((p[0], p[1], p[2] if dims == 3 else 2.0) for p in points),
    )


def make_outlined(category: int, outline: tuple[tuple[float, float], ...]) -> Object:
    """Return the object of an outline, with the box that encloses it."""
    low = [min(point[axis] for point in outline) for axis in (0, 1)]
    high = [max(point[axis] for point in outline) for axis in (0, 1)]
    box = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[0] - low[0], high[1] - low[1])
    return Object(category=category, box=box, keypoints=(), outline=outline)


def _number(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _guess(values: list[float], layout: Layout) -> str:
    """Return a guess of what a line with these numbers is."""
    count = len(values)
    if layout.shape in ("outline", "corners") and count == 5:
        wants = {"outline": "segment wants the points around", "corners": "obb wants four corners"}
        return f"an upright box, it seems; {wants[layout.shape]}"
    if layout.shape == "corners" and count == 6:
        return "a box and an angle, it seems; obb wants four corners: x1 y1 x2 y2 x3 y3 x4 y4"
    if layout.shape == "corners" and count > 9 and count % 2:
        return "an outline, it seems; obb wants the four corners of a turned box"
    if layout.keypoints and count == 5:
        return "this line has a box alone; data.yaml's `kpt_shape` promises keypoints"
    if count == 4 and values[0] != int(values[0]):
        return "the class is missing, it seems"
    return ""


def _as_float32(line: str) -> bytes:
    """Return the numbers of a line as a trainer's float32 values."""
    return _pack([float(word) for word in line.split()])


def pack_object(item: Object) -> bytes:
    """Return the numbers of an object as a trainer's float32 values; equal objects have equal ones."""
    points: tuple[tuple[float, ...], ...] = item.outline or (item.box, *item.keypoints)
    return _pack([item.category, *(value for point in points for value in point)])


def _pack(values: list[float]) -> bytes:
    within = [max(-3e38, min(3e38, value)) for value in values]
    return struct.pack(f"<{len(within)}f", *within)
