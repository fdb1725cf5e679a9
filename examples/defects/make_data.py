"""Draws data/plates: images of metal plates in a folder for each class.

`python make_data.py` always writes the same bytes; only Python's standard library is needed. Delete this
file when you put images of your own there.
"""

import math
import random
import struct
from collections.abc import Callable
from pathlib import Path

SIDE = 64
"""Pixels; images are square."""
IMAGES = {"train": 24, "val": 8}
"""Of each class."""

Rows = list[list[int]]
"""Grey values, row by row."""


def plate(rng: random.Random) -> Rows:
    """Brushed metal: each row has a brightness of its own, and noise."""
    light = rng.randint(110, 170)
    brightness = [light + rng.randint(-12, 12) for _ in range(SIDE)]
    return [[value + rng.randint(-6, 6) for _ in range(SIDE)] for value in brightness]


def good(rows: Rows, rng: random.Random) -> None:
    """Nothing is wrong with it."""


def hole(rows: Rows, rng: random.Random) -> None:
    """A dark disc."""
    radius = rng.uniform(5, 10)
    x, y = (rng.uniform(radius, SIDE - radius) for _ in "xy")
    for row in range(SIDE):
        for column in range(SIDE):
            if math.hypot(column - x, row - y) < radius:
                rows[row][column] = rng.randint(10, 40)


def scratch(rows: Rows, rng: random.Random) -> None:
    """A bright line, two or three pixels wide, steeper than the brushing."""
    x, slope = rng.uniform(15, SIDE - 15), rng.uniform(-0.6, 0.6)
    first, length, width = rng.randint(0, 16), rng.randint(34, 46), rng.randint(2, 3)
    for row in range(first, first + length):
        column = int(x + slope * (row - SIDE / 2))
        for place in range(max(0, column), min(SIDE, column + width)):
            rows[row][place] = rng.randint(225, 250)


CLASSES: dict[str, Callable[[Rows, random.Random], None]] = {
    "good": good,
    "hole": hole,
    "scratch": scratch,
}


def bitmap(rows: Rows) -> bytes:
    """A 24-bit BMP, which begins with the lowest row."""
    size = 3 * SIDE * SIDE
    header = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    facts = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, size, 0, 0, 0, 0)
    pixels = bytes(value for row in reversed(rows) for value in row for _ in range(3))
    return header + facts + pixels


def main() -> None:
    """data/plates/SPLIT/CLASS/*.bmp."""
    root = Path(__file__).resolve().parent / "data" / "plates"
    rng = random.Random(0)
    for split, count in IMAGES.items():
        for name, spoil in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(1, count + 1):
                rows = plate(rng)
                spoil(rows, rng)
                (folder / f"{number:03}.bmp").write_bytes(bitmap(rows))


if __name__ == "__main__":
    main()
