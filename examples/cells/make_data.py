"""Draws data/cells: images of blood cells with COCO annotations, as a labelling tool exports them.

`python make_data.py` always writes the same bytes, here or in the workspace that it is given; only Python's
standard library is needed. Delete this file when you put images of your own there.
"""

import json
import math
import random
import struct
import sys
from pathlib import Path
from typing import Any

SIDE = 96
"""Pixels; images are square."""
IMAGES = {"train": 48, "val": 16}
CELLS = {  # name: smallest and largest radius in pixels, fewest and most in an image, colours RGB
    "red-cell": ((7, 10), (3, 6), ((214, 96, 92), (232, 150, 142))),
    "white-cell": ((12, 15), (0, 1), ((186, 170, 222), (84, 56, 150))),
    "platelet": ((4, 5), (0, 2), ((148, 104, 176), (122, 78, 160))),
}
PLASMA = (238, 222, 214)

Cell = tuple[str, float, float, float]
"""Name, centre x, centre y, radius in pixels."""


def place_cells(rng: random.Random) -> list[Cell]:
    """The cells of one image; they hardly overlap, and large ones find their place first."""
    found: list[Cell] = []
    for name, ((least, most), (fewest, many), _) in sorted(CELLS.items(), reverse=True):
        for _ in range(rng.randint(fewest, many)):
            radius = rng.uniform(least, most)
            for _ in range(50):
                x, y = (rng.uniform(radius + 1, SIDE - radius - 1) for _ in "xy")
                if all(math.hypot(x - u, y - v) > radius + r - 1 for _, u, v, r in found):
                    found.append((name, x, y, radius))
                    break
    return found


def paint(cells: list[Cell], rng: random.Random) -> list[bytearray]:
    """The image's rows, blue before green before red, as BMP has them."""
    dimmer = bytes(value % 12 for value in range(256))
    rows = [bytearray(rng.randbytes(3 * SIDE).translate(dimmer)) for _ in range(SIDE)]
    for row in rows:
        for column in range(SIDE):
            for channel in range(3):
                row[3 * column + channel] += PLASMA[2 - channel]
    for name, x, y, radius in cells:
        rim, inside = CELLS[name][2]
        disc(rows, x, y, radius, rim)
        disc(rows, x, y, 0.55 * radius, inside)
    return rows


def disc(
    rows: list[bytearray], x: float, y: float, radius: float, color: tuple[int, int, int]
) -> None:
    """Fill a circle."""
    for row in range(math.ceil(y - radius), math.floor(y + radius) + 1):
        half = math.sqrt(max(0.0, radius**2 - (row - y) ** 2))
        left, right = math.ceil(x - half), math.floor(x + half) + 1
        rows[row][3 * left : 3 * right] = bytes(reversed(color)) * (right - left)


def bitmap(rows: list[bytearray]) -> bytes:
    """A 24-bit BMP, which begins with the lowest row."""
    size = 3 * SIDE * SIDE
    header = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    facts = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, size, 0, 0, 0, 0)
    return header + facts + b"".join(reversed(rows))


def annotate(images: list[list[Cell]], split: str) -> dict[str, Any]:
    """COCO's JSON: images, categories, and a box for each cell."""
    categories = {name: number for number, name in enumerate(CELLS, 1)}
    labelled = [(image, cell) for image, cells in enumerate(images, 1) for cell in cells]
    return {
        "images": [
            {"id": image, "file_name": f"{split}-{image:03}.bmp", "width": SIDE, "height": SIDE}
            for image in range(1, len(images) + 1)
        ],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": categories[name],
                "bbox": [round(value, 2) for value in (x - r, y - r, 2 * r, 2 * r)],
                "area": round(4 * r * r, 2),
                "iscrowd": 0,
            }
            for number, (image, (name, x, y, r)) in enumerate(labelled, 1)
        ],
    }


def main() -> None:
    """data/cells/images, and an annotation file for each split."""
    workspace = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    folder = workspace / "data" / "cells"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    for split, count in IMAGES.items():
        images = [place_cells(rng) for _ in range(count)]
        for number, cells in enumerate(images, 1):
            (folder / "images" / f"{split}-{number:03}.bmp").write_bytes(bitmap(paint(cells, rng)))
        (folder / f"{split}.json").write_text(json.dumps(annotate(images, split), indent=1) + "\n")


if __name__ == "__main__":
    main()
