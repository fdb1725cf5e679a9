"""The number of images in a split, as far as it can be known before a step reads the dataset."""

import os
import sys
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from buildsys.authoring.datasets.blocks import Split as Shares
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.steps.lib.datasets.split_shares import divide
from buildsys.steps.lib.datasets.ultralytics_layout import Split, iterate_images

_LISTED = ("ultralytics", "folders")
"""Formats whose splits are folders or lists of images."""


@dataclass(frozen=True, kw_only=True)
class ImageCount:
    """How many images there are, and the folders whose change changes the number."""

    number: int
    folders: frozenset[Path] = frozenset()


Known = dict[Hashable, ImageCount | None]
"""Splits counted in this run: builds share their data."""


def count_images(
    facts: DatasetFacts, split: str, most: int, known: Known, shared: tuple[str, Shares] | None
) -> ImageCount | None:
    """Return the number of images of a split; None if it is not known. It is counted up to
    `most`.

    `shared`: the root and the shares of a dataset whose train split is divided.
    """
    given = "train" if shared is not None else split
    root, shares = shared if shared is not None else (facts.root, None)
    number, places = dict(facts.images).get(given), dict(facts.given).get(given)
    key = root, facts.format, places, most, repr(shares), split
    if key not in known:
        if number is not None:
            found: ImageCount | None = ImageCount(number=number)
        elif facts.format in _LISTED and places is not None and os.path.isdir(root):
            images = iterate_images(Path(root), Split(name=given, paths=places))
            found = _count(Path(root), images, most if shares is None else sys.maxsize)
        else:
            found = None
        known[key] = found and _of_split(found, split, most, shares)
    return known[key]


def _of_split(found: ImageCount, split: str, most: int, shares: Shares | None) -> ImageCount | None:
    """Return the share of one split in the images that were found; None without any."""
    number = found.number
    if shares is not None:
        number = divide(number, shares.val, shares.test).get(split, 0)
    return replace(found, number=min(number, most)) if number > 0 else None


def _count(root: Path, images: Iterable[str], most: int) -> ImageCount:
    """Return the number of different images, up to `most`, and their folders."""
    names: set[str] = set()
    for name in images:
        names.add(name)
        if len(names) == most:
            break
    return ImageCount(number=len(names), folders=frozenset((root / n).parent for n in names))
