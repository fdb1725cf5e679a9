"""Facts that planning found about data and checkpoints, for planning where these are missing.

The values are part of plans and of buildsys.lock; their types refuse what a line of that file
cannot contain.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from buildsys.records import check_digest, check_size

_NO_TEXT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, other ends of lines, halves of surrogate pairs."""


def check_text(text: str) -> None:
    """Raise ValueError for a text that is not one line."""
    if _NO_TEXT.search(text):
        raise ValueError("it has a character that is not text")


def check_name(text: str) -> None:
    """Raise ValueError for an empty name."""
    if not text.strip():
        raise ValueError("it is empty")
    check_text(text)


def check_place(text: str) -> None:
    """Raise ValueError for a path that is not relative to its folder."""
    check_name(text)
    if text.startswith("/"):
        raise ValueError("it is an absolute path")


def check_dims(count: int) -> None:
    """Raise ValueError for an impossible number of values per keypoint."""
    if count not in (0, 2, 3):
        raise ValueError("it is neither 0, 2 nor 3")


def _check_archive(text: str) -> None:
    if text:  # a dataset without an archive
        check_digest(text)


Text = Annotated[str, check_text]
Name = Annotated[str, check_name]
Place = Annotated[str, check_place]
Count = Annotated[int, check_size]
Dims = Annotated[int, check_dims]
_ArchiveDigest = Annotated[str, _check_archive]


@dataclass(frozen=True, kw_only=True)
class RecordedDataset:
    """A dataset that need not be here, see `DatasetFacts` of `authoring.datasets`.

    `root`: from the folder of its data.yaml; `parts`: files and folders that belong to it; `coco`:
    for COCO's format, (split, annotation file, folder of images) from the root; `archive`: the
    digest of the archive that it came in, or empty.
    """

    root: Name
    names: tuple[Name, ...]
    keypoints: Count
    keypoint_dims: Dims
    sigmas: tuple[float, ...]
    splits: tuple[tuple[Name, tuple[Place, ...]], ...]
    parts: tuple[Place, ...]
    file: Text
    crowds: tuple[tuple[Name, Count], ...] = ()
    format: Text = ""
    flip: tuple[Count, ...] = ()
    coco: tuple[tuple[Name, Place, Place], ...] = ()
    archive: _ArchiveDigest = ""


@dataclass(frozen=True, kw_only=True)
class RecordedModel:
    """A checkpoint that need not be here, see `spec.CheckpointFacts`."""

    task: Text
    names: tuple[Name, ...]
    keypoints: Count
    keypoint_dims: Dims
    architecture: Text = ""
    size: Count = 0


Facts = RecordedDataset | RecordedModel


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What planning found about a source; `key`: of its line, "dataset data/tags/data.yaml"."""

    key: str
    facts: Facts
