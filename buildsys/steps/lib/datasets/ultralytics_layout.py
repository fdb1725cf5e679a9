"""Reading a dataset in Ultralytics' layout: which pictures a split has, and what they show."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.runtime.progress import StepError, fail

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, kw_only=True)
class Split:
    """Where a split's pictures are, relative to the dataset's root: folders or lists of files."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Object:
    """One labelled object; every figure is a share of the picture's width or height, 0..1."""

    category: int
    box: tuple[float, float, float, float]
    """Centre x, centre y, width, height."""
    keypoints: tuple[tuple[float, float, float], ...]
    """x, y, visibility (0 not labelled, 1 hidden, 2 seen)."""
    outline: tuple[tuple[float, float], ...] = ()
    """x, y of the points around it, where that is how it is labelled; the box is then around them."""


def list_images(root: Path, split: Split) -> list[Path]:
    """The split's pictures in a settled order; ends the step when there are none."""
    found: set[Path] = set()
    for entry in split.paths:
        place = root / entry
        if place.is_dir():
            found |= {path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES}
        elif place.is_file() and place.suffix == ".txt":
            found |= _listed(root, place)
        else:
            fail(f"the dataset's {split.name} split names {entry}, which does not exist.")
    if not found:
        fail(f"the dataset's {split.name} split has no pictures ({', '.join(split.paths)}).")
    return sorted(found)


def _listed(root: Path, place: Path) -> set[Path]:
    """The pictures that a list file names, from its own folder; none may lie outside the dataset."""
    found = set()
    for number, line in enumerate(_lines(place), 1):
        if not line.strip():
            continue
        path = Path(os.path.normpath(place.parent / line.strip()))
        if line.strip().startswith("/") or not path.is_relative_to(root):
            fail(
                f"{place.name}:{number}: {line.strip()[:200]} lies outside the dataset; lists name"
                " pictures of the dataset, from the list's own folder."
            )
        found.add(path)
    return found


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = f"{path.name} is no text in UTF-8 (byte {error.start}); mend or remove it."
        raise StepError(message) from error


def label_file(image: Path) -> Path:
    """Where a picture's labels are: labels/**.txt beside images/**."""
    parts = list(image.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_labels(
    image: Path, keypoints: int, dims: int, classes: int, shape: str = "box"
) -> list[Object]:
    """The objects of one picture: labels/**.txt beside images/**; no file means no objects.

    `shape`: box | outline | corners, see `tasks.shape_of`.
    """
    path = label_file(image)
    if not path.is_file():
        return []
    objects = []
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            where = f"{path.name}:{number}"
            objects.append(_parse_line(line, where, keypoints, dims, classes, shape))
    return objects


def _parse_line(
    line: str, where: str, keypoints: int, dims: int, classes: int, shape: str
) -> Object:
    try:
        values = [float(value) for value in line.split()]
    except ValueError:
        fail(f"{where}: {line.strip()[:60]!r} is not a row of numbers.")
    problem = count_problem(len(values), shape, keypoints, dims)
    if problem:
        fail(f"{where}: {problem}.")
    if not 0 <= values[0] < classes or values[0] != int(values[0]):
        fail(f"{where}: class {values[0]:g}; data.yaml names 0 to {classes - 1}.")
    if not all(math.isfinite(value) for value in values):
        fail(f"{where}: {line.strip()[:60]!r} holds a number that is none, or endless.")
    return make_object(values, shape, keypoints, dims)


def count_problem(count: int, shape: str, keypoints: int, dims: int) -> str:
    """What is wrong with a line of so many numbers; empty where nothing is."""
    if shape == "corners":
        wanted = "class and four corners are 9"
        return "" if count == 9 else f"{count} numbers; {wanted}"
    if shape == "outline":
        wanted = "class and outline are 1 and two for each of 3 points or more"
        return "" if count >= 7 and count % 2 else f"{count} numbers; {wanted}"
    what = "class, box and keypoints" if keypoints else "class and box"
    wanted = f"{what} are {5 + keypoints * dims}"
    return "" if count == 5 + keypoints * dims else f"{count} numbers; {wanted}"


def make_object(values: list[float], shape: str, keypoints: int, dims: int) -> Object:
    """An object from a line's numbers, whose count is right."""
    if shape in ("outline", "corners"):
        outline = tuple(zip(values[1::2], values[2::2], strict=True))
        low = [min(point[axis] for point in outline) for axis in (0, 1)]
        high = [max(point[axis] for point in outline) for axis in (0, 1)]
        box = ((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, high[0] - low[0], high[1] - low[1])
        return Object(category=int(values[0]), box=box, keypoints=(), outline=outline)
    points = [values[5 + i * dims : 5 + (i + 1) * dims] for i in range(keypoints)]
    return Object(
        category=int(values[0]),
        box=(values[1], values[2], values[3], values[4]),
        keypoints=tuple((p[0], p[1], p[2] if dims == 3 else 2.0) for p in points),
    )


def class_of(image: Path, root: Path, split: Split, classes: tuple[str, ...]) -> int:
    """The class of a picture that lies in a folder of its class, below one of the split's places."""
    for entry in split.paths:
        if image.is_relative_to(root / entry):
            name = image.relative_to(root / entry).parts[0]
            if name in classes and image.parent != root / entry:
                return classes.index(name)
            known = ", ".join(classes[:10])
            fail(
                f"{image.relative_to(root)} is in no class's folder: {entry}/<class>/…; the classes"
                f" are those of train: {known}."
            )
    raise StepError(f"{image.name} is not below {', '.join(split.paths)}.")
