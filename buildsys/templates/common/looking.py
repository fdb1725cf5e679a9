"""Shared code of run.py and client.py: prepare images, decode outputs, report detections.

Uses NumPy and Pillow. Python 3.8 and later.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pictures import Failure, draw, lines, plain, read_picture, row, share

if TYPE_CHECKING:
    import numpy as np
    import vision

    Ask = Callable[[np.ndarray], dict[str, np.ndarray]]
    """A function: prepared images, float32 [B, 3, H, W] -> outputs by name. Raises Failure."""

HERE = Path(__file__).resolve().parent
NAMES = ("engine.json", "model.json")
"""Names of the file that describes a package's network."""


def read_facts() -> dict[str, Any]:
    """Read the facts about the network of this folder. Raises Failure."""
    path = next((HERE / name for name in NAMES if (HERE / name).is_file()), HERE / NAMES[0])
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{path.name} cannot be read ({error}): copy the package again", 3) from error
    return facts


def look_at_all(facts: dict[str, Any], ask: Ask, options: argparse.Namespace) -> int:
    """Print the detections on each readable image; stderr names the others."""
    demand_task(facts)
    code, rows = 0, []
    for path in options.pictures:
        try:
            rows.append(look(path, facts, ask, options))
        except Failure as error:
            print(f"error: {plain(error)}", file=sys.stderr)
            code = error.code
            continue
        if not options.json:
            print("\n".join(lines(rows[-1])))
    if options.json:
        report = {"model": {"sha256": facts["sha256"]}, "pictures": rows}
        print(json.dumps(report, indent=1))
    return code


def demand_task(facts: dict[str, Any]) -> None:
    """Raises Failure for a network whose outputs are not described."""
    if facts["preprocessing"] is None or facts["head"] == "none":
        message = "the recipe does not describe this network's input or its outputs"
        raise Failure(message, 3)


def look(path: str, facts: dict[str, Any], ask: Ask, options: argparse.Namespace) -> Any:
    """Return one image's entry for the JSON. Raises Failure."""
    import shapes
    import vision

    photo, frame = read_picture(path), facts["preprocessing"]
    placed = vision.place(photo, frame["height"], frame["width"], frame["resize"])
    answers = ask(prepare(placed, facts["batch"][0]))
    outputs = {facts["named"].get(name, name): values for name, values in answers.items()}
    if options.save:
        save(options.save, outputs)
    confidence, iou = options.confidence or facts["confidence"], options.iou or facts["iou"]
    try:
        found = shapes.see(outputs, facts, photo, placed, confidence, iou)
    except (KeyError, ValueError) as error:
        listed = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        message = f"the outputs are {listed}: not the outputs of the head `{facts['head']}`"
        raise Failure(message, 3) from error
    if options.draw:
        draw(photo, found, facts["classes"], options.draw)
    return row(path, photo, found, facts["classes"])


def prepare(placed: vision.Placed, least: int) -> np.ndarray:
    """Convert an image in its frame to float32 [least, 3, height, width], repeated to fill it."""
    import numpy as np

    values = placed.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.repeat(values, least, 0)


def save(target: str, outputs: dict[str, np.ndarray]) -> None:
    """Write outputs by name as .npz. Raises Failure."""
    import numpy as np

    try:
        with Path(target).open("wb") as file:
            np.savez(file, **outputs)
    except OSError as error:
        raise Failure(f"{target}: cannot be written: {error.strerror}", 2) from error


def arguments(parser: argparse.ArgumentParser, pictures: str) -> None:
    """Add the options of both programs; `pictures`: `+` or `*`, the number of images."""
    add = parser.add_argument
    add(
        "pictures",
        nargs=pictures,
        metavar="IMAGE",
        help="JPEG, PNG or another format that Pillow reads",
    )
    add("--json", action="store_true", help="print JSON instead of lines")
    add("--draw", metavar="FILE", help="draw the detections into this file; only for one image")
    add("--confidence", type=share, metavar="SCORE", help="omit detections below this score")
    worse = "of two detections of a class that overlap more than this, omit the worse"
    add("--iou", type=share, help=f"{worse}; no effect with a one-to-one head")
    add(
        "--save", metavar="NPZ", help="write the network's outputs to this file; only for one image"
    )
