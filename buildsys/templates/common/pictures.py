"""Read images, print and draw detections, and end programs with an exit code.

Uses NumPy and Pillow. Python 3.8 and later.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import vision

_COLOURS = ("#f03c3c", "#3cbe46", "#288cf0", "#fab41e", "#c846dc", "#28c8c8", "#fa783c", "#6e5aaa")

_INVISIBLE = "\u200c\u200d\u00a0\u3000"
"""Joiners and spaces that occur inside words."""


class Failure(Exception):
    """What went wrong, as a sentence, with the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def read_picture(path: str) -> np.ndarray:
    """Read an image upright, uint8 [h, w, 3] RGB. Raises Failure."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I"):  # 16-bit grey: use the high byte
                grey = np.asarray(upright).astype(np.uint16) >> 8
                return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
            return np.asarray(upright.convert("RGB"))
    except FileNotFoundError:
        raise Failure(f"{path}: file not found", 2) from None
    except IsADirectoryError:
        raise Failure(f"{path}: this is a folder; name the images in it", 2) from None
    except Image.UnidentifiedImageError:
        raise Failure(f"{path}: not an image, or in a format that Pillow cannot read", 2) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Failure(f"{path}: cannot be read: {error}", 2) from error


def draw(photo: np.ndarray, found: Sequence[vision.Found], names: list[str], target: str) -> None:
    """Write the image with boxes, masks, names and keypoints. Raises Failure."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(_tint(photo, found))
    pencil, size = ImageDraw.Draw(picture), max(picture.size)
    line, font = max(1, round(size / 400)), ImageFont.load_default(max(11, size / 45))
    for item in reversed(found):
        colour = _COLOURS[item.category % len(_COLOURS)]
        corner = (max(0.0, item.box[0]), max(0.0, item.box[1])) if item.box else (0.0, 0.0)
        if item.box:
            if item.corners:
                pencil.polygon(item.corners, outline=colour, width=line)
            else:
                pencil.rectangle(item.box, outline=colour, width=line)
        text = f"{names[item.category]} {item.score:.2f}"
        pencil.rectangle(pencil.textbbox(corner, text, font), fill=colour)
        pencil.text(corner, text, "white", font)
        for x, y, seen in item.keypoints:
            spot = (x - 2 * line, y - 2 * line, x + 2 * line, y + 2 * line)
            pencil.ellipse(spot, fill=colour if seen > 0.5 else None, outline="white", width=line)
    try:
        picture.save(target)
    except (OSError, ValueError) as error:
        raise Failure(f"{target}: cannot be written: {error}", 2) from error


def _tint(photo: np.ndarray, found: Sequence[vision.Found]) -> np.ndarray:
    """Return the image with every mask blended in its class's colour."""
    from PIL import ImageColor

    tinted = photo.copy()
    for item in found:
        if item.mask is not None:
            colour = ImageColor.getrgb(_COLOURS[item.category % len(_COLOURS)])
            tinted[item.mask] = (tinted[item.mask].astype(int) + colour) // 2
    return tinted


def row(path: str, photo: np.ndarray, found: Sequence[vision.Found], names: list[str]) -> Any:
    """Return one image's entry for the JSON; pixels are rounded to 0.01, scores to 0.0001."""
    objects = []
    for item in found:
        entry: dict[str, Any] = {"class": names[item.category], "score": round(item.score, 4)}
        if item.box:
            entry["box"] = [round(value, 2) for value in item.box]
        if item.keypoints:
            entry["keypoints"] = [
                [round(x, 2), round(y, 2), round(v, 4)] for x, y, v in item.keypoints
            ]
        if item.corners:
            entry["corners"] = [[round(x, 2), round(y, 2)] for x, y in item.corners]
        if item.mask is not None:
            entry["mask"] = run_lengths(item.mask)
        objects.append(entry)
    return {"picture": path, "width": photo.shape[1], "height": photo.shape[0], "objects": objects}


def run_lengths(mask: np.ndarray) -> Any:
    """Return a mask in COCO's form: column by column, counts of pixels outside, inside, outside, …"""
    import numpy as np

    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff([0, *changes.tolist(), mask.size]).tolist()
    return {"size": list(mask.shape), "counts": counts}


def plain(text: object) -> str:
    """Return a text on one line with control characters escaped."""
    shown = (c if c.isprintable() or c in _INVISIBLE else ascii(c)[1:-1] for c in str(text))
    return "".join(shown)


def lines(entry: dict[str, Any]) -> list[str]:
    """Return one image's entry as lines: x, y, width and height in pixels of the image."""
    lines, path = [], plain(entry["picture"])
    for item in entry["objects"]:
        x1, y1, x2, y2 = (round(value) for value in item.get("box", (0, 0, 0, 0)))
        where = f" at {x1},{y1} {x2 - x1}x{y2 - y1}" if "box" in item else ""
        lines.append(f"{path}: {plain(item['class'])} {item['score']:.2f}{where}")
    return lines or [f"{path}: nothing"]


def share(text: str) -> float:
    """Read a number above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def count(text: str) -> int:
    """Read an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def guarded(work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run `work`; an error is a sentence on stderr and an exit code."""
    if hasattr(signal, "SIGPIPE"):
        # end silently if the reader closes the pipe (`| head`), as other programs do
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return work(options)
    except Failure as error:
        print(f"error: {plain(error)}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        hint = "python3 -m pip install -r requirements.txt"
        print(f"error: the Python package {error.name} is missing: {hint}", file=sys.stderr)
        return 4
