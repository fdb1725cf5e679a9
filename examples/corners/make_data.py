"""Draws data/cards: images of a card with a label for its four corners, in Ultralytics' layout.

`python make_data.py` always writes the same bytes; only Python's standard library is needed. Delete this
file when you put images of your own there.
"""

import math
import random
import struct
from pathlib import Path

SIDE = 96
"""Pixels; images are square."""
IMAGES = {"train": 48, "val": 16}
DATA = """\
train: images/train
val: images/val
names: [card]
kpt_shape: [4, 3]         # four corners: x, y and whether it is visible
flip_idx: [1, 0, 3, 2]    # in a mirrored image, left corners are right corners
kpt_oks_sigmas: [0.1, 0.1, 0.1, 0.1]    # how far off a corner may be: smaller is stricter
"""

Point = tuple[float, float]


def place_card(rng: random.Random) -> list[Point]:
    """The corners from the upper left, clockwise: a rectangle, each corner moved by a few pixels."""
    width, height = rng.uniform(36, 60), rng.uniform(28, 48)
    x, y = rng.uniform(8, SIDE - 8 - width), rng.uniform(8, SIDE - 8 - height)
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return [(u + rng.uniform(-6, 6), v + rng.uniform(-6, 6)) for u, v in corners]


def paint(corners: list[Point], rng: random.Random) -> list[bytearray]:
    """The image's rows, blue before green before red, as BMP has them."""
    ground = bytes(rng.randint(20, 110) for _ in range(3))
    dimmer = bytes(value % 40 for value in range(256))
    noise = [rng.randbytes(3 * SIDE).translate(dimmer) for _ in range(SIDE)]
    rows = [bytearray(n + g for n, g in zip(row, ground * SIDE, strict=True)) for row in noise]
    card = bytes([rng.randint(200, 255)]) * 3
    for row in range(SIDE):
        crossings = [x for edge in edges(corners) if (x := crossing(edge, row)) is not None]
        if len(crossings) == 2:
            left, right = (max(0, math.ceil(x)) for x in sorted(crossings))
            rows[row][3 * left : 3 * right] = card * (right - left)
    return rows


def edges(corners: list[Point]) -> list[tuple[Point, Point]]:
    """Each corner with the next."""
    return list(zip(corners, [*corners[1:], corners[0]], strict=True))


def crossing(edge: tuple[Point, Point], row: int) -> float | None:
    """Where an edge crosses a row of pixels."""
    (x, y), (u, v) = edge
    return x + (row - y) * (u - x) / (v - y) if min(y, v) <= row < max(y, v) else None


def bitmap(rows: list[bytearray]) -> bytes:
    """A 24-bit BMP, which begins with the lowest row."""
    size = 3 * SIDE * SIDE
    header = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    facts = struct.pack("<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, size, 0, 0, 0, 0)
    return header + facts + b"".join(reversed(rows))


def label(corners: list[Point]) -> str:
    """Class, box (centre and size), corners with 2 for visible; all as shares of the image."""
    xs, ys = zip(*corners, strict=True)
    box = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)
    shares = [f"{value / SIDE:.5f}" for value in box]
    points = [f"{x / SIDE:.5f} {y / SIDE:.5f} 2" for x, y in corners]
    return " ".join(["0", *shares, *points]) + "\n"


def main() -> None:
    """data/cards/data.yaml, images and labels of each split."""
    folder = Path(__file__).resolve().parent / "data" / "cards"
    rng = random.Random(0)
    for split, count in IMAGES.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(1, count + 1):
            corners = place_card(rng)
            image = folder / "images" / split / f"{number:03}.bmp"
            image.write_bytes(bitmap(paint(corners, rng)))
            (folder / "labels" / split / f"{number:03}.txt").write_text(label(corners))
    (folder / "data.yaml").write_text(DATA)


if __name__ == "__main__":
    main()
