"""The number of images in a split, as far as it can be known before a step reads the dataset."""

import os
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.blocks import Split as Shares
from buildsys.authoring.datasets.facts import DatasetFacts
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
    """Return the number of images of a split; None if there are `most` or more, or if it is not
    known.

    `shared`: the root and the shares of a dataset whose train split is divided.
    """
    given = "train" if shared is not None else split
    root, places = shared[0] if shared is not None else facts.root, dict(facts.given).get(given)
    key = root, facts.format, places, most, shared and repr(shared[1]), split
    if key not in known:
        known[key] = _count(facts, root, split, most, shared[1] if shared is not None else None)
    return known[key]


def _count(
    facts: DatasetFacts, root: str, split: str, most: int, shares: Shares | None
) -> ImageCount | None:
    given = "train" if shares is not None else split
    number, places = dict(facts.images).get(given), dict(facts.given).get(given)
    names: set[str] = set()
    if number is None:
        if facts.format not in _LISTED or places is None or not os.path.isdir(root):
            return None
        for name in iterate_images(Path(root), Split(name=given, paths=places)):
            names.add(name)
            if shares is None and len(names) >= most:
                return None
        number = len(names)
    if shares is not None:
        number = dict(divide(number, shares)).get(split, 0)
    if not 0 < number < most:
        return None
    return ImageCount(
        number=number, folders=frozenset((Path(root) / name).parent for name in names)
    )


def divide(count: int, shares: Shares) -> tuple[tuple[str, int], ...]:
    """Return the number of images of each split, as `split_dataset` divides different images."""
    val = max(1, round(count * shares.val))
    test = max(1, round(count * shares.test)) if shares.test else 0
    return ("train", count - val - test), ("val", val), ("test", test)
