"""What the packed network sees on pictures: printed, as JSON, drawn.

    python detect.py photo.jpg --draw seen.jpg

Exit codes: 0 done, whether or not anything was seen; 2 a picture or an option is wrong; 3 the
package is incomplete or its model cannot be run; 4 a Python package is missing.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from network import Failure, Model

if TYPE_CHECKING:
    import numpy as np
    import vision

_COLOURS = ("#f03c3c", "#3cbe46", "#288cf0", "#fab41e", "#c846dc", "#28c8c8", "#fa783c", "#6e5aaa")


def read_picture(path: str) -> np.ndarray:
    """Upright, uint8 [h, w, 3] RGB. Raises Failure."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except FileNotFoundError:
        raise Failure(f"{path}: there is no such file", 2) from None
    except IsADirectoryError:
        raise Failure(f"{path}: is a folder; name the pictures in it", 2) from None
    except Image.UnidentifiedImageError:
        raise Failure(f"{path}: is no picture, or of a kind that Pillow cannot read", 2) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Failure(f"{path}: cannot be read: {error}", 2) from error


def draw(photo: np.ndarray, found: Sequence[vision.Found], names: list[str], target: str) -> None:
    """The picture with boxes, names and keypoints. Raises Failure."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(photo)
    pencil, size = ImageDraw.Draw(picture), max(picture.size)
    line, font = max(1, round(size / 400)), ImageFont.load_default(max(11, size / 45))
    for item in reversed(found):
        colour = _COLOURS[item.category % len(_COLOURS)]
        corner = (max(0.0, item.box[0]), max(0.0, item.box[1])) if item.box else (0.0, 0.0)
        if item.box:
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


def row(path: str, photo: np.ndarray, found: Sequence[vision.Found], names: list[str]) -> Any:
    """One picture's entry of the JSON: pixels to a hundredth, scores to a ten-thousandth."""
    objects = []
    for item in found:
        entry: dict[str, Any] = {"class": names[item.category], "score": round(item.score, 4)}
        if item.box:
            entry["box"] = [round(value, 2) for value in item.box]
        if item.keypoints:
            entry["keypoints"] = [
                [round(x, 2), round(y, 2), round(v, 4)] for x, y, v in item.keypoints
            ]
        objects.append(entry)
    return {"picture": path, "width": photo.shape[1], "height": photo.shape[0], "objects": objects}


def lines(entry: dict[str, Any]) -> list[str]:
    """One picture's entry as people read it: x, y, width and height in the photograph's pixels."""
    told = []
    for item in entry["objects"]:
        x1, y1, x2, y2 = (round(value) for value in item.get("box", (0, 0, 0, 0)))
        where = f" at {x1},{y1} {x2 - x1}x{y2 - y1}" if "box" in item else ""
        told.append(f"{entry['picture']}: {item['class']} {item['score']:.2f}{where}")
    return told or [f"{entry['picture']}: nothing"]


def detect(options: argparse.Namespace) -> int:
    """Each picture that can be read; the others are told on stderr."""
    model, code, rows = Model(options.threads), 0, []
    model.demand_task()
    confidence = options.confidence or model.facts["confidence"]
    iou = options.iou or model.facts["iou"]
    for path in options.pictures:
        try:
            photo = read_picture(path)
            found = model.see(photo, confidence, iou)
            rows.append(row(path, photo, found, model.facts["classes"]))
            if not options.json:
                print("\n".join(lines(rows[-1])))
            if options.draw:
                draw(photo, found, model.facts["classes"], options.draw)
        except Failure as error:
            print(f"error: {error}", file=sys.stderr)
            code = error.code
    if options.json:
        told = {
            "model": {"sha256": model.sha256},
            "confidence": confidence,
            "iou": iou,
            "pictures": rows,
        }
        print(json.dumps(told, indent=1, ensure_ascii=False))
    return code


def share(text: str) -> float:
    """Above 0, at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def count(text: str) -> int:
    """From 1 on."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What the packed network sees on pictures.")
    add = parser.add_argument
    add(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="a photograph: JPEG, PNG or what Pillow reads",
    )
    add("--json", action="store_true", help="print JSON in place of lines")
    add("--draw", metavar="FILE", help="write the picture with what was seen; for one picture")
    add("--confidence", type=share, metavar="SCORE", help="leave out what is below")
    add(
        "--iou",
        type=share,
        help="of two boxes of a class that overlap by more, leave out the worse",
    )
    add("--threads", type=count, default=1, help="that LiteRT computes with (1)")
    options = parser.parse_args()
    if options.draw and len(options.pictures) > 1:
        parser.error("--draw is for one picture at a time")
    return options


def guarded(work: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run; what went wrong is a sentence on stderr and an exit code."""
    if hasattr(signal, "SIGPIPE"):
        # behind `| head` nobody reads on: end without a word, as other programs do
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        return work(options)
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    except ModuleNotFoundError as error:
        hint = "python3 -m pip install -r requirements.txt"
        print(f"error: the Python package {error.name} is missing here: {hint}", file=sys.stderr)
        return 4


if __name__ == "__main__":
    sys.exit(guarded(detect, parse()))
