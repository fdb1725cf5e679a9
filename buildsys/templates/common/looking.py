"""Photographs through a network that answers elsewhere: what run.py and client.py have in common.

Runs on Python 3.8 and later; numpy and Pillow do the work.
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
    """Prepared pictures, float32 [B, 3, H, W] -> outputs by name. Raises Failure."""

HERE = Path(__file__).resolve().parent
NAMES = ("engine.json", "model.json")
"""What the file is called that describes the network of a package."""


def read_facts() -> dict[str, Any]:
    """What is known of the network of this folder. Raises Failure."""
    path = next((HERE / name for name in NAMES if (HERE / name).is_file()), HERE / NAMES[0])
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"{path.name} cannot be read ({error}): copy the package again", 3) from error
    return facts


def look_at_all(facts: dict[str, Any], ask: Ask, options: argparse.Namespace) -> int:
    """Print what is on each image that can be read; stderr names the others."""
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
    """Raises Failure for a network whose outputs nobody explains."""
    if facts["preprocessing"] is None or facts["head"] == "none":
        message = "nobody said how pictures become this network's input or what its outputs mean"
        raise Failure(message, 3)


def look(path: str, facts: dict[str, Any], ask: Ask, options: argparse.Namespace) -> Any:
    """One photograph's entry of the JSON. Raises Failure."""
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
        message = f"the outputs are {listed}: not those of the head `{facts['head']}`"
        raise Failure(message, 3) from error
    if options.draw:
        draw(photo, found, facts["classes"], options.draw)
    return row(path, photo, found, facts["classes"])


def prepare(placed: vision.Placed, least: int) -> np.ndarray:
    """A picture in its frame -> float32 [least, 3, height, width]; a larger batch repeats it."""
    import numpy as np

    values = placed.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.repeat(values, least, 0)


def save(target: str, outputs: dict[str, np.ndarray]) -> None:
    """Outputs by name, as .npz. Raises Failure."""
    import numpy as np

    try:
        with Path(target).open("wb") as file:
            np.savez(file, **outputs)
    except OSError as error:
        raise Failure(f"{target}: cannot be written: {error.strerror}", 2) from error


def arguments(parser: argparse.ArgumentParser, pictures: str) -> None:
    """Which pictures (`+` or `*`), and what becomes of them."""
    add = parser.add_argument
    add("pictures", nargs=pictures, metavar="PICTURE", help="JPEG, PNG or what Pillow reads")
    add("--json", action="store_true", help="print JSON in place of lines")
    add("--draw", metavar="FILE", help="write the picture with what was seen; for one picture")
    add("--confidence", type=share, metavar="SCORE", help="leave out what is below")
    worse = "of two of a class that overlap by more, leave out the worse"
    add("--iou", type=share, help=f"{worse}; without effect on a one-to-one head")
    add("--save", metavar="NPZ", help="write what the network answered; for one picture")
