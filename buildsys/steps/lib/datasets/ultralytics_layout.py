"""Ultralytics' folder layout: which images a split has, and which class a folder stands for."""

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
    for number, line in enumerate(read_lines(place), 1):
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


def read_lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8; ends the step where it is none."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = f"{path.name} is no text in UTF-8 (byte {error.start}); mend or remove it."
        raise StepError(message) from error


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
