"""Find the images of a split, and the class of a folder, in Ultralytics' folder layout."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.labels import Finding, read_text
from buildsys.steps.lib.images.decoding import UNREAD_SUFFIXES, is_image
from buildsys.steps.lib.runtime.progress import fail


@dataclass(frozen=True, kw_only=True)
class Split:
    """The paths of a split's images, relative to the dataset's root: folders or lists of files."""

    name: str
    paths: tuple[str, ...]


def find_images(root: Path, split: Split) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Return the split's images relative to the dataset, sorted, and findings about omitted
    entries.

    A list names one image per line, relative to the list's folder or, if it does not exist there,
    to the dataset's root; with or without `./`.
    """
    found: set[str] = set()
    findings: list[Finding] = []
    for entry in split.paths:
        place = root / entry
        if place.is_dir():
            for name in list_files(root, entry):
                if is_image(PurePosixPath(name)):
                    found.add(name)
                findings += describe_unread(name)
        elif _is_list(place):
            names, wrong = _read_list(root, entry)
            found |= names
            findings += wrong
        else:
            message, hint = f"the {split.name} split names this, and it does not exist", ""
            if place.is_file():
                message = (
                    f"the {split.name} split names this, and it is not a folder or a .txt list"
                )
                hint = "name the folder of its images, or a .txt file that lists one a line"
            findings.append(Finding.error("missing-image", entry, message, hint))
    told = (f.severity == "error" or f.kind == "no-images" for f in findings)
    if not found and not any(told):
        message = f"the {split.name} split has no images"
        findings.append(Finding.warning("no-images", ", ".join(split.paths), message))
    return tuple(sorted(found)), tuple(findings)


def describe_unread(name: str) -> Iterator[Finding]:
    """Yield the finding for an image in a format that is not supported."""
    suffix = PurePosixPath(name).suffix
    if suffix.lower() in UNREAD_SUFFIXES:
        message = f"images of the kind {suffix} are not read: it is left out"
        yield Finding.warning("unread-kind", name, message, "save it as JPEG or PNG")


def iterate_images(root: Path, split: Split) -> Iterator[str]:
    """Yield the same images one by one, as folders are read; list lines without an image are
    skipped.
    """
    for entry in split.paths:
        if (root / entry).is_dir():
            yield from (name for name in list_files(root, entry) if is_image(PurePosixPath(name)))
        elif _is_list(root / entry):
            yield from sorted(_read_list(root, entry)[0])


def list_images(root: Path, split: Split) -> list[Path]:
    """Return the split's images in a fixed order; ends the step if one is missing or there are
    none.
    """
    names, findings = find_images(root, split)
    for finding in findings:
        if finding.severity == "error" or finding.kind == "no-images":
            fail(f"{finding}.")
    return [root / name for name in names]


def _is_list(place: Path) -> bool:
    """Return whether a split's path is a list of images, by its name."""
    return place.is_file() and place.suffix.lower() == ".txt"


def _read_list(root: Path, entry: str) -> tuple[set[str], list[Finding]]:
    """Return the images that a list file names, and findings for lines that name none."""
    found: set[str] = set()
    findings = []
    text, problem = read_text(root / entry)
    if problem:
        return found, [Finding.error("missing-image", entry, problem)]
    folder = os.path.dirname(entry)
    for number, line in enumerate(text.splitlines(), 1):
        written = line.strip()
        if not written:
            continue
        starts = [os.path.normpath(os.path.join(start, written)) for start in (folder, "")]
        message, hint = "", ""
        if written.startswith("/") or all(path.split("/")[0] == ".." for path in starts):
            message = (
                f"{written[:200]} lies outside the dataset; lists name images of the dataset, from"
                " the list's own folder"
            )
            hint = _suggest_end(root, written)
        elif not is_image(PurePosixPath(written)):
            other = f"{written[:200]} is not an image by its name: left out"
            findings.append(Finding.warning("unread-kind", entry, other, line=number))
        else:
            inside = [path for path in starts if (root / path).is_file()]
            found |= set(inside[:1])
            if not inside:
                message = f"lists {written[:200]}, which does not exist"
                hint = _suggest_end(root, written)
        if message:
            findings.append(Finding.error("missing-image", entry, message, hint, line=number))
    if not text.strip():
        findings.append(Finding.warning("no-images", entry, "this list names no image"))
    return found, findings


def _suggest_end(root: Path, written: str) -> str:
    """Suggest a path for one from another machine or folder: its longest end that is a file of the
    dataset.
    """
    parts = written.replace("\\", "/").split("/")
    ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
    end = next((end for end in ends if end and os.path.isfile(root / end)), "")
    return f"write {end}" if end else ""


def find_class(image: str, split: Split, classes: tuple[str, ...]) -> int | Finding:
    """Return the class of an image by its folder below one of the split's paths, or a finding."""
    path = PurePosixPath(image)
    for place in split.paths:
        if not path.is_relative_to(place):
            continue
        name, *rest = path.relative_to(place).parts
        if rest and name in classes:
            return classes.index(name)
        if rest:
            message = f"{name} is not a class: train has no such folder"
            return Finding.error("class-out-of-range", image, message)
    places = " or ".join(f"{place}/<class>/" for place in split.paths)
    message = f"is not in the folder of a class: {places}"
    return Finding.error("no-class", image, message)


def class_of(image: Path, root: Path, split: Split, classes: tuple[str, ...]) -> int:
    """Return the class of an image of the dataset at `root`; ends the step if its folder is not a
    class.
    """
    found = find_class(image.relative_to(root).as_posix(), split, classes)
    if isinstance(found, Finding):
        fail(f"{found}.")
    return found
