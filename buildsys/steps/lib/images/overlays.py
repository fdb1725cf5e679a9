"""Draw boxes, names and keypoints on an image, with the same bytes on every machine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PALETTE = (
    (60, 60, 240),
    (70, 190, 60),
    (240, 140, 40),
    (30, 180, 250),
    (220, 70, 200),
    (200, 200, 40),
    (60, 120, 250),
    (170, 90, 110),
    (140, 220, 190),
    (120, 120, 120),
)
"""BGR colours, one per class or keypoint, repeated if there are more."""
_QUALITY = 92
_LETTERS = 0.78
"""Height of the letters as a share of the line height."""


Place = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One object in an image's pixels; `keypoints` are number, x, y, whether the point is visible.
    A point's colour depends on its number, so that swapped points are noticeable.
    """

    text: str
    category: int
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2."""
    keypoints: tuple[tuple[int, float, float, bool], ...] = ()
    outline: tuple[tuple[float, float], ...] = ()
    """x, y of the points around the object; drawn in place of the box."""


def draw(image: "np.ndarray", marks: tuple[Mark, ...]) -> "np.ndarray":
    """Return a copy of the image, uint8 [h, w, 3] BGR, with every mark; earlier marks are on top."""
    import cv2
    import numpy as np

    canvas = image.copy()
    line = max(1, round(max(canvas.shape[:2]) / 640))
    for mark in reversed(marks):
        x1, y1, x2, y2 = _clip(mark.box, canvas)
        colour = PALETTE[mark.category % len(PALETTE)]
        if mark.outline:
            points = np.array([(_whole(x), _whole(y)) for x, y in mark.outline], np.int32)
            cv2.polylines(canvas, [points], True, colour, line, cv2.LINE_AA)
        else:
            cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line, cv2.LINE_AA)
    taken: list[Place] = []
    for mark in marks:
        _write_name(canvas, mark, taken)
    for mark in reversed(marks):
        for number, x, y, seen in mark.keypoints:
            spot, shade = (_whole(x), _whole(y)), PALETTE[number % len(PALETTE)]
            cv2.circle(canvas, spot, 2 * line + 1, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(canvas, spot, 2 * line, shade, -1 if seen else line, cv2.LINE_AA)
    return canvas


def write_text(canvas: Any, text: str, corner: tuple[int, int], height: int) -> None:
    """Write white text in any script, with lines of `height` px, its upper left corner at `corner`."""
    import cv2

    size = round(height * _LETTERS)
    spot = (corner[0], corner[1] + round(height * 0.76))
    cv2.putText(canvas, text, spot, (255, 255, 255), cv2.FontFace("sans"), size)


def text_width(text: str, height: int) -> int:
    """Return the width in pixels that `write_text` needs."""
    import cv2

    size = round(height * _LETTERS)
    return int(cv2.getTextSize((1, 1), text, (0, 0), cv2.FontFace("sans"), size)[2])


def save(path: Any, image: "np.ndarray") -> None:
    """Write a JPEG."""
    import cv2

    from buildsys.steps.lib.images import image_files

    image_files.write(path, image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def _write_name(canvas: Any, mark: Mark, taken: list[Place]) -> None:
    """Write the name above, below or in its box, where no other name is; otherwise omit it."""
    import cv2

    high, wide = canvas.shape[:2]
    h = max(13, round(max(high, wide) / 48))
    w = text_width(mark.text, h) + 6
    x1, y1, x2, y2 = _clip(mark.box, canvas)
    corners = [
        (x1, y1 - h),
        (x1, y2),
        (x2 - w, y1 - h),
        (x2 - w, y2),
        (x1, y1),
        (x2 - w, y2 - h),
    ]
    inside = [(x, y) for x, y in corners if 0 <= x <= wide - w and 0 <= y <= high - h]
    moved = [(max(0, min(x, wide - w)), max(0, min(y, high - h))) for x, y in corners]
    for left, top in inside + moved:
        place = (left, top, left + w, top + h)
        if mark.text and not any(_touch(place, other) for other in taken):
            taken.append(place)
            colour = PALETTE[mark.category % len(PALETTE)]
            cv2.rectangle(canvas, (left, top), (left + w, top + h), colour, -1)
            write_text(canvas, mark.text, (left + 3, top), h)
            return


def _clip(box: tuple[float, float, float, float], canvas: Any) -> Place:
    high, wide = canvas.shape[:2]
    x1, y1, x2, y2 = box
    return (
        max(0, _whole(x1)),
        max(0, _whole(y1)),
        min(wide - 1, _whole(x2)),
        min(high - 1, _whole(y2)),
    )


def _whole(value: float) -> int:
    """Return a whole number within the range of the drawing functions, for any label."""
    return round(min(max(value, -30000.0), 30000.0))


def _touch(a: Place, b: Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
