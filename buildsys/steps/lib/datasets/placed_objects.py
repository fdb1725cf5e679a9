"""Place labelled objects on their image, by one rule for every format.

An object without extent, or of which nothing is on the image, is left out, and one that exceeds the
image is clipped; each is a warning. Coordinates more than a whole image away are in another unit,
which is an error. The corners of turned boxes stay as they are, so that the limits of Ultralytics
8.4 (`data/utils.py`, `verify_image_label`) apply to them and to keypoints: beyond these it leaves
out the whole image with all its labels.
"""

import dataclasses
from collections.abc import Iterator

from buildsys.steps.lib.datasets.labels import Finding, Layout, Object, make_outlined
from buildsys.steps.lib.datasets.pixel_boxes import Size

_SLACK = 0.01
"""How far Ultralytics lets a label lie outside the image, as a share of its side."""
_AWAY = 1.0
"""How far a box may exceed its image, as a share of the image's side."""
_ROUNDING = 1.0
"""Pixels beyond an edge that are clipped without a finding: many tools round to whole pixels."""
_LEAST = 0.01
"""Pixels below which an extent is none: annotation files are written with six digits."""
_PIXELS = "these look like pixels; a label holds shares of the image's width and height"
_ORDER = "a box is centre x, centre y, width and height"
_REMOVE = "cut it at the image's edge, or remove it: a trainer leaves the whole image out"

_Box = tuple[float, float, float, float]
_Outline = tuple[tuple[float, float], ...]


def place(
    item: Object, size: Size | None, path: str, line: int, layout: Layout
) -> tuple[Object | None, tuple[Finding, ...]]:
    """Return an object as it is on an image of `size`, None if it is left out, and findings; with an
    error, the object as it was labelled.

    `size`: None if the image cannot be read.
    """
    if layout.shape == "folder":
        return item, ()
    name = layout.classes[item.category]
    problem = find_error(item, size, layout)
    if problem:
        hint = _suggest(item, size, layout)
        return item, (Finding.error("outside", path, problem, hint, line=line),)
    found = _clip(item, layout.shape)
    what = _what(layout)
    if found is None or _is_nothing(_clip_box(found.box), size):
        w, h = item.box[2:]
        extent = f"{w * size[0]:g} x {h * size[1]:g} px" if size is not None else f"{w:g} x {h:g}"
        why = f"has no extent: {extent}" if min(w, h) <= 0 else "has nothing on the image"
        message = f"the {what} of this {name} {why}; it is left out"
        return None, (Finding.warning("left-out", path, message, line=line),)
    findings = (
        Finding.warning(kind, path, message, line=line)
        for kind, message in _describe(item, found, size, what, name)
    )
    return found, tuple(findings)


def _suggest(item: Object, size: Size | None, layout: Layout) -> str:
    """Return what to do about an error; "" if its message says that."""
    if _is_in_pixels(item):
        return _PIXELS
    if min(item.box[2:]) < 0:
        return _ORDER
    return "" if _find_invalid(item, size, layout) else _REMOVE


def find_error(item: Object, size: Size | None, layout: Layout) -> str:
    """Return which part of an object cannot be meant so; "" if none."""
    return _find_invalid(item, size, layout) or _find_excess(item, size, layout)


def _find_invalid(item: Object, size: Size | None, layout: Layout) -> str:
    """Return which number of an object has no meaning, wherever the object is; "" if none."""
    name, (w, h) = layout.classes[item.category], item.box[2:]
    if w < 0 or h < 0:
        return f"the {_what(layout)} of this {name} has a negative size: {w:g} x {h:g}"
    if _is_nothing(_clip_box(item.box), size):
        return ""
    for index, (*_, visibility) in enumerate(item.keypoints):
        if visibility < 0:
            return f"keypoint {index} of this {name} has visibility {visibility:g}; it is 0, 1 or 2"
    return ""


def _find_excess(item: Object, size: Size | None, layout: Layout) -> str:
    """Return which part of an object is too far outside the image; "" if none, or if the object is
    left out.
    """
    name, what = layout.classes[item.category], _what(layout)
    x, y, w, h = item.box
    if _worst_edge(item.box)[0] > _AWAY:
        return f"the {what} of this {name} reaches {describe_excess(item.box, size)}"
    if _is_nothing(_clip_box(item.box), size):
        return ""
    for index, (px, py, visibility) in enumerate(item.keypoints):
        if visibility > 0 and (_is_far(px) or _is_far(py)):
            return f"keypoint {index} of this {name} is outside the image: {px:g}, {py:g}"
    if layout.shape != "corners":
        return ""
    far = [f"{axis} {value:g}" for axis, value in (("x", x), ("y", y)) if _is_far(value)]
    if far:
        return f"the centre of this {name}'s {what} is outside the image: {', '.join(far)}"
    if max(w, h) > 1 + _SLACK:
        return f"the {what} of this {name} is larger than the image: {w:g} x {h:g}"
    return ""


def describe_excess(box: _Box, size: Size | None) -> str:
    """Return how far a box exceeds the image, at the worst edge; "" within rounding."""
    share, axis, edge = _worst_edge(box)
    if share <= (_ROUNDING / size[axis] + 1e-6 if size is not None else 0.002):
        return ""
    pixels = f" ({share * size[axis]:.1f} px)" if size is not None else ""
    return f"{share:.3f} of the {('width', 'height')[axis]}{pixels} beyond the {edge} edge"


def _what(layout: Layout) -> str:
    return {"outline": "outline", "corners": "turned box"}.get(layout.shape, "box")


def _describe(
    item: Object, found: Object, size: Size | None, what: str, name: str
) -> Iterator[tuple[str, str]]:
    """Yield the kind and text of each warning about an object that is used."""
    w, h = found.box[2:]
    if size is not None and (w * size[0] < 1 or h * size[1] < 1):
        tiny = f"{w * size[0]:.2f} x {h * size[1]:.2f} px: less than a pixel"
        yield "tiny-box", f"the {what} of this {name} is {tiny}"
    beyond = describe_excess(item.box, size)
    if beyond:
        clipped = "" if found is item else "; it is clipped"
        yield "box-outside", f"the {what} of this {name} reaches {beyond}{clipped}"
    labelled = [(index, point) for index, point in enumerate(item.keypoints) if point[2] > 0]
    far = [str(index) for index, point in labelled if describe_excess((*point[:2], 0, 0), size)]
    if far:
        message = f"keypoint {', '.join(far)} of this {name} is outside the image; it is moved to"
        yield "keypoint-outside", f"{message} the edge"
    odd = sorted({point[2] for point in item.keypoints} - {0.0, 1.0, 2.0})
    if odd:
        shown = ", ".join(f"{value:g}" for value in odd)
        yield "visibility", f"visibility {shown}; 0, 1 and 2 have a meaning"


def _clip(item: Object, shape: str) -> Object | None:
    """Return the part of an object that is on the image; None if there is none."""
    box = _clip_box(item.box)
    if min(box[2:]) <= 0:
        return None
    points = tuple(
        (_inside(x), _inside(y), v) if v > 0 else (x, y, v) for x, y, v in item.keypoints
    )
    if shape == "corners" or (box == item.box and points == item.keypoints):
        return item
    if not item.outline:
        return dataclasses.replace(item, box=box, keypoints=points)
    outline = _clip_outline(item.outline)
    return make_outlined(item.category, outline) if outline else None


def _clip_box(box: _Box) -> _Box:
    x, y, w, h = box
    x, w = _clip_side(x, w)
    y, h = _clip_side(y, h)
    return x, y, w, h


def _clip_side(centre: float, extent: float) -> tuple[float, float]:
    low, high = centre - extent / 2, centre + extent / 2
    if low >= 0 and high <= 1:
        return centre, extent
    low, high = _inside(low), _inside(high)
    return (low + high) / 2, high - low


def _clip_outline(outline: _Outline) -> _Outline:
    """Return the polygon that is on the image, edge by edge (Sutherland and Hodgman: Reentrant
    polygon clipping, 1974); () if there is none.
    """
    points = list(outline)
    for axis, edge, sign in ((0, 0.0, 1), (0, 1.0, -1), (1, 0.0, 1), (1, 1.0, -1)):
        kept: list[tuple[float, float]] = []
        for start, end in zip([*points[-1:], *points[:-1]], points, strict=True):
            inside = [(point[axis] - edge) * sign >= 0 for point in (start, end)]
            if inside[0] != inside[1]:
                share = (edge - start[axis]) / (end[axis] - start[axis])
                other = start[1 - axis] + share * (end[1 - axis] - start[1 - axis])
                kept.append((edge, other) if axis == 0 else (other, edge))
            if inside[1]:
                kept.append(end)
        points = kept
    chosen = tuple(
        p for p, before in zip(points, [*points[-1:], *points], strict=False) if p != before
    )
    return chosen if len(chosen) > 2 else ()


def _inside(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _is_nothing(box: _Box, size: Size | None) -> bool:
    wide, tall = size or (1, 1)
    least = _LEAST if size is not None else 0.0
    return box[2] * wide <= least or box[3] * tall <= least


def _is_far(share: float) -> bool:
    return not -_SLACK <= share <= 1 + _SLACK


def _is_in_pixels(item: Object) -> bool:
    shares = (*item.box, *(value for point in item.keypoints for value in point[:2]))
    return max(map(abs, shares)) > 1 + _AWAY


def _worst_edge(box: _Box) -> tuple[float, int, str]:
    """Return how far a box exceeds the image at the worst edge, as a share of its side; the edge's
    axis and name.
    """
    x, y, w, h = box
    return max(
        (-(x - w / 2), 0, "left"),
        (x + w / 2 - 1, 0, "right"),
        (-(y - h / 2), 1, "upper"),
        (y + h / 2 - 1, 1, "lower"),
    )
