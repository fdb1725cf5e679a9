"""Read an annotation file in Pascal VOC format (one image's objects in XML), with the position of
every mistake.

It needs only the standard library, because `buildsys check` uses it, too. The format is that of the
VOC development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/), as labelImg, CVAT,
Label Studio and Roboflow also write it. A document type declaration is rejected, and with it every
entity: nothing in a file expands or refers to another file.
"""

import math
from dataclasses import dataclass, field
from xml.parsers import expat

from buildsys.steps.lib.datasets.labels import Finding, is_class_name, mistake
from buildsys.steps.lib.datasets.pixel_boxes import show

LARGEST = 4 * 2**20
"""Maximum size of an annotation file in bytes."""
_DEEPEST, _LONGEST = 32, 200
"""Maximum nesting of elements, and maximum length of an element's text or name."""
_EXPAT = {3: "the file ends before `</annotation>`"}
"""Explanations of expat's error codes whose own text is misleading (3: no element found)."""
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_ONCE = ("name", "bndbox", *(f"bndbox/{key}" for key in _CORNERS))
"""What an object has once: a second one would be lost."""
_OFFICIAL = "the voc20"
"""The start of `source/database` in the challenge's own files, in lower case."""


@dataclass(frozen=True, kw_only=True)
class VocObject:
    """One object; `corners`: left, upper, right, lower edge in pixels from the image's corner.

    `line` and `column` count from 1.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool
    line: int
    column: int


@dataclass(frozen=True, kw_only=True)
class VocFile:
    """The content of a file; `size` is width and height in pixels, None if it is missing or 0.

    `filename` is a name without folders, or empty.
    """

    filename: str
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


@dataclass(frozen=True, kw_only=True)
class _Value:
    """The text of an element, and its position."""

    text: str
    line: int
    column: int


@dataclass(kw_only=True)
class _Element:
    """An element that is being read, with the values of its descendants by their paths."""

    line: int
    column: int
    values: dict[str, _Value] = field(default_factory=dict)
    repeated: list[tuple[str, _Value]] = field(default_factory=list)
    """Values of a path that has one already."""


class _RefusedError(Exception):
    """Stops reading the file; `place`: line and column."""

    def __init__(self, place: tuple[int, int], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.place = place
        self.hint = hint


def parse(data: bytes, label: str) -> tuple[VocFile | None, list[Finding]]:
    """Return a file's content, None if anything is wrong with it, and the mistakes."""
    if len(data) > LARGEST:
        message = f"has {len(data)} bytes, which is too large for the annotation of one image"
        return None, [mistake(label, message)]
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        message = f"not valid XML: {_EXPAT.get(error.code, expat.errors.messages[error.code])}"
        line, column = error.lineno, error.offset + 1
        return None, [mistake(label, message, line=line, column=column)]
    except _RefusedError as error:
        line, column = error.place
        found = mistake(label, str(error), hint=error.hint, line=line, column=column)
        return None, [found]
    # an encoding that Python does not support, or a multi-byte one
    except (LookupError, ValueError):
        hint = "save it as UTF-8"
        return None, [mistake(label, "is in an encoding that is not read", hint=hint)]
    return _interpret(reader, label)


class _Reader:
    """Gathers the values of the whole file and of each object from expat's events."""

    def __init__(self) -> None:
        self.top = _Element(line=1, column=1)
        self.objects: list[_Element] = []
        self.path: list[str] = []
        self.starts: list[tuple[int, int]] = []
        self.text = ""
        self.begin = (1, 1)
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.StartElementHandler = self._start
        self.parser.CharacterDataHandler = self._add_text
        self.parser.EndElementHandler = self._end

    @property
    def place(self) -> tuple[int, int]:
        """Return line and column of the event, counted from 1."""
        return self.parser.CurrentLineNumber, self.parser.CurrentColumnNumber + 1

    def _refuse_doctype(self, *_: object) -> None:
        message = "has a document type declaration; annotations have none"
        raise _RefusedError(self.place, message, "remove it")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if not self.path and name != "annotation":
            hint = "give CVAT's export `PASCAL VOC 1.1`" if name == "annotations" else ""
            what = f"its outermost element is <{name[:_LONGEST]}>, not <annotation>"
            message = f"this is not an annotation in Pascal VOC's format: {what}"
            raise _RefusedError(self.place, message, hint)
        if len(self.path) == _DEEPEST:
            raise _RefusedError(self.place, "nested too deep")
        self.path.append(name)
        self.starts.append(self.place)
        self.text = ""
        if self.path[1:] == ["object"]:
            line, column = self.place
            self.objects.append(_Element(line=line, column=column))

    def _add_text(self, text: str) -> None:
        if not self.text:
            text = text.lstrip()
            if not text:
                return
            self.begin = self.place
        if len(self.text) < _LONGEST:  # every line is a separate event
            self.text += text

    def _end(self, _: str) -> None:
        inside = self.path[1:2] == ["object"]
        element = self.objects[-1] if inside else self.top
        name = "/".join(self.path[2 if inside else 1 :])
        start = self.starts.pop()
        line, column = self.begin if self.text else start
        value = _Value(text=self.text.strip(), line=line, column=column)
        if element.values.setdefault(name, value) is not value:
            element.repeated.append((name, value))
        self.text = ""
        self.path.pop()


def _interpret(reader: _Reader, label: str) -> tuple[VocFile | None, list[Finding]]:
    """Return the file's content from its values."""
    mistakes: list[Finding] = []
    top = reader.top.values
    size = _read_size(top, label, mistakes)
    database = top["source/database"].text.lower() if "source/database" in top else ""
    # The challenge counts pixels from 1, and a box includes its corner pixels; all current tools
    # write edges: labelImg, CVAT, Label Studio, FiftyOne.
    before = 1.0 if database.startswith(_OFFICIAL) else 0.0
    objects = [_read_object(item, label, before, mistakes) for item in reader.objects]
    if mistakes:
        return None, mistakes
    name = top["filename"].text if "filename" in top else ""
    return VocFile(
        filename=name.replace("\\", "/").rsplit("/", 1)[-1],
        size=size,
        objects=tuple(item for item in objects if item is not None),
    ), []


def _read_size(
    values: dict[str, _Value], label: str, mistakes: list[Finding]
) -> tuple[int, int] | None:
    """Return width and height; some tools omit them or write 0."""
    sides = []
    for key in ("size/width", "size/height"):
        value = values.get(key)
        if value is None or not value.text:
            return None
        number = _number(value.text)
        if number is None or number != int(number) or number < 0:
            message = f"`{key}` is a number of pixels, not {show(value.text)}"
            mistakes.append(_mistake(label, value, message))
            return None
        sides.append(int(number))
    return (sides[0], sides[1]) if all(sides) else None


def _read_object(
    item: _Element, label: str, before: float, mistakes: list[Finding]
) -> VocObject | None:
    """Return one object; `before`: how many pixels the left upper corner lies inside the box's
    edges.
    """
    repeated = dict(reversed(item.repeated))
    twice = next((key for key in _ONCE if key in repeated), "")
    if twice:
        message = f"this object has a second `{twice}`"
        mistakes.append(_mistake(label, repeated[twice], message, "write an `object` for each"))
        return None
    name = item.values.get("name")
    if name is None or not is_class_name(name.text):
        what = "is missing" if name is None or not name.text else f"is a word, not {name.text!a}"
        mistakes.append(_mistake(label, name or item, f"an object's `name` {what}"))
        return None
    corners = _read_corners(item, name.text, label, mistakes)
    if corners is None:
        return None
    left, upper, right, lower = corners
    left, upper = left - before, upper - before
    if left > right or upper > lower:
        size = f"{right - left:g} x {lower - upper:g} px"
        message = f"the box of this {name.text} has a negative size: {size}"
        mistakes.append(_mistake(label, item.values["bndbox/xmin"], message))
        return None
    flag = item.values.get("difficult")
    if flag is not None and flag.text not in ("", "0", "1"):
        message = f"`difficult` is 0 or 1, not {show(flag.text)}"
        mistakes.append(_mistake(label, flag, message))
        return None
    return VocObject(
        name=name.text,
        corners=(left, upper, right, lower),
        difficult=flag is not None and flag.text == "1",
        line=item.line,
        column=item.column,
    )


def _read_corners(
    item: _Element, name: str, label: str, mistakes: list[Finding]
) -> list[float] | None:
    if "bndbox" not in item.values:
        hint = "box it upright: turned boxes are Ultralytics' labels of task obb"
        turned = "robndbox" in item.values
        what = "has a turned box alone (`robndbox`)" if turned else "has no `bndbox`"
        mistakes.append(_mistake(label, item, f"this {name} {what}", hint if turned else ""))
        return None
    corners = []
    for key in _CORNERS:
        value = item.values.get(f"bndbox/{key}")
        number = _number(value.text) if value is not None else None
        if value is None or number is None:
            what = (
                "is missing" if value is None else f"is a number of pixels, not {show(value.text)}"
            )
            place = value or item.values["bndbox"]
            mistakes.append(_mistake(label, place, f"`{key}` of this {name} {what}"))
            return None
        corners.append(number)
    return corners


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _mistake(label: str, place: _Value | _Element, message: str, hint: str = "") -> Finding:
    return mistake(label, message, hint=hint, line=place.line, column=place.column)
