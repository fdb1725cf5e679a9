"""One annotation of a COCO file: its box, outline, keypoints, inside their picture.

Figures come out as shares of the picture's width and height, as everywhere else (`ultralytics_layout.Object`).
"""

import math
from typing import Any, Protocol

from buildsys.steps.lib.datasets.coco_fields import Layout, Notes, numbers_of, show
from buildsys.steps.lib.datasets.ultralytics_layout import Object

TOLERANCE = 1.0
"""Pixels beyond an edge that are cut off without a word: tools round a box to whole pixels."""
_RLE = "a run-length mask; outlines are lists of points (`iscrowd: 1` leaves the annotation out)"


class Frame(Protocol):
    """What an annotation lies in: a picture's name and size in pixels."""

    @property
    def name(self) -> str:
        """Its file."""

    @property
    def width(self) -> int:
        """Pixels across."""

    @property
    def height(self) -> int:
        """Pixels down."""


def read_object(
    row: dict[str, Any], where: str, layout: Layout | None, picture: Frame | None, notes: Notes
) -> Object | None:
    """One annotation's object; None where something is wrong with it, or with what it rests on."""
    category = notes.whole(row, "category_id", where)
    known = [number for number, _ in layout.categories] if layout else []
    if layout is not None and category is not None and category not in known:
        few = ", ".join(f"{number} {name}" for number, name in layout.categories[:12])
        message = f"{where}: `category_id` {category} is no category of this file"
        notes.tell(message, f"there are: {few}{', …' if len(known) > 12 else ''}")
    box = _read_box(row, where, picture, notes)
    if layout is None or picture is None or box is None or category not in known:
        return None
    outline: tuple[tuple[float, float], ...] | None = ()
    points: tuple[tuple[float, float, float], ...] | None = ()
    if layout.shape == "outline":
        outline = _read_outline(row, where, picture, notes)
    if layout.shape == "keypoints":
        points = _read_keypoints(row, where, len(layout.keypoints), picture, notes)
    if outline is None or points is None:
        return None
    return Object(category=known.index(category), box=box, keypoints=points, outline=outline)


def _read_box(
    row: dict[str, Any], where: str, picture: Frame | None, notes: Notes
) -> tuple[float, float, float, float] | None:
    """`bbox` as centre and size, shares; cut off at the picture's edges within the tolerance."""
    numbers = numbers_of(row.get("bbox"))
    if numbers is None or len(numbers) != 4:
        what = "is missing" if row.get("bbox") is None else "is"
        notes.tell(f"{where}: `bbox` {what}{_of_four(row.get('bbox'))}")
        return None
    x, y, w, h = numbers
    if w <= 0 or h <= 0:
        hint = "a `bbox` is x, y, width, height in pixels"
        notes.tell(f"{where}: its box has no extent: {w:g} x {h:g} px", hint)
        return None
    if picture is None:
        return None
    far = _beyond((x, y), (x + w, y + h), picture)
    if far:
        corners = w > x >= 0 and h > y >= 0 and w <= picture.width and h <= picture.height
        hint = "a `bbox` is x, y, width, height; these look like two corners" if corners else ""
        notes.tell(f"{where}: its box reaches {far}", hint)
        return None
    left, right = _inside(x, picture.width), _inside(x + w, picture.width)
    upper, lower = _inside(y, picture.height), _inside(y + h, picture.height)
    if left >= right or upper >= lower:
        notes.tell(f"{where}: nothing of its box is inside {show(picture.name)}")
        return None
    wide, high = picture.width, picture.height
    return (
        (left + right) / 2 / wide,
        (upper + lower) / 2 / high,
        (right - left) / wide,
        (lower - upper) / high,
    )


def _of_four(value: Any) -> str:
    if value is None:
        return ": x, y, width, height in pixels"
    shown = f"{len(value)} of them" if isinstance(value, list) and len(value) != 4 else show(value)
    if isinstance(value, list) and len(value) == 4:
        shown = f"[{', '.join(show(item) for item in value)}]"
    return f" four numbers, x, y, width, height in pixels, not {shown}"


def _read_outline(
    row: dict[str, Any], where: str, picture: Frame, notes: Notes
) -> tuple[tuple[float, float], ...] | None:
    """`segmentation` as one outline of shares; several polygons are joined by lines without width."""
    given = row.get("segmentation")
    if isinstance(given, dict):
        notes.tell(f"{where}: `segmentation` is {_RLE}")
        return None
    polygons = []
    for polygon in given if isinstance(given, list) else []:
        numbers = numbers_of(polygon)
        if numbers is None or len(numbers) < 6 or len(numbers) % 2:
            notes.tell(f"{where}: `segmentation` is lists of x, y of three points or more")
            return None
        polygons.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    if not polygons:
        what = "is missing" if given is None else f"is a list of outlines, not {show(given)}"
        what = "is empty" if given == [] else what
        notes.tell(f"{where}: `segmentation` {what}: segment needs the points around")
        return None
    points = [point for polygon in polygons for point in polygon]
    low, high = ((f(p[0] for p in points), f(p[1] for p in points)) for f in (min, max))
    far = _beyond(low, high, picture)
    if far:
        notes.tell(f"{where}: its outline reaches {far}")
        return None
    wide, tall = picture.width, picture.height
    return tuple((_inside(x, wide) / wide, _inside(y, tall) / tall) for x, y in _join(polygons))


def _join(polygons: list[list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """One outline around several: there and back on the shortest line between two of their points."""
    whole = list(polygons[0])
    for polygon in polygons[1:]:
        pairs = (
            (math.dist(a, b), i, j) for i, a in enumerate(whole) for j, b in enumerate(polygon)
        )
        _, i, j = min(pairs)
        whole[i:i] = [whole[i], *polygon[j:], *polygon[: j + 1]]
    return whole


def _read_keypoints(
    row: dict[str, Any], where: str, count: int, picture: Frame, notes: Notes
) -> tuple[tuple[float, float, float], ...] | None:
    """`keypoints` as x, y, visibility; shares. A point that is not labelled has no place."""
    numbers = numbers_of(row.get("keypoints"))
    if numbers is None or len(numbers) != 3 * count:
        had = f", not {len(numbers)}" if numbers is not None else ""
        notes.tell(f"{where}: `keypoints` are {3 * count} numbers: x, y, visibility of each{had}")
        return None
    points = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
    if any(v not in (0, 1, 2) for *_, v in points):
        notes.tell(f"{where}: a keypoint's visibility is 0, 1 or 2")
        return None
    for index, (x, y, v) in enumerate(points):
        far = _beyond((x, y), (x, y), picture) if v else ""
        if far:
            notes.tell(f"{where}: keypoint {index} lies {far}")
            return None
    wide, high = picture.width, picture.height
    return tuple(
        (_inside(x, wide) / wide, _inside(y, high) / high, v) if v else (0.0, 0.0, 0.0)
        for x, y, v in points
    )


def _beyond(low: tuple[float, float], high: tuple[float, float], picture: Frame) -> str:
    """How far something reaches out of the picture, in words; "" within the tolerance."""
    sides = (
        ("left", -low[0]),
        ("right", high[0] - picture.width),
        ("upper", -low[1]),
        ("lower", high[1] - picture.height),
    )
    name, far = max(sides, key=lambda side: side[1])
    size = f"{picture.width}x{picture.height}"
    edge = f"{far:.1f} px beyond the {name} edge of {show(picture.name)}, which is {size}"
    return edge if far > TOLERANCE else ""


def _inside(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))
