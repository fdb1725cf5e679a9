"""The `dataset` block, and the archive that it may name."""

import os
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictStr

from buildsys.authoring.syntax.validation import Block
from buildsys.authoring.syntax.values import Seed, Sha256
from buildsys.steps.lib.datasets.labels import is_class_name


def _class_name(value: str) -> str:
    if not is_class_name(value):
        raise ValueError("a class name in `classes` is empty or cannot be printed")
    return value


ClassName = Annotated[StrictStr, AfterValidator(_class_name)]


class Split(Block):
    """The `dataset.split` block: shares of the images that become the val and test splits."""

    val: Annotated[float, Field(strict=True, gt=0, lt=1)]
    test: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    seed: Seed = 0


class CocoSheet(Block):
    """One split of a dataset in COCO format: its annotation file, and the folder of its images."""

    annotations: StrictStr
    images: StrictStr


class CocoSplits(Block):
    """The `dataset.splits` block: files for each split."""

    train: CocoSheet | None = None
    val: CocoSheet | None = None
    test: CocoSheet | None = None

    @property
    def given(self) -> tuple[tuple[str, CocoSheet], ...]:
        """Return the splits that are given, by name."""
        sheets = (("train", self.train), ("val", self.val), ("test", self.test))
        return tuple((name, sheet) for name, sheet in sheets if sheet is not None)


class Dataset(Block):
    """The `dataset` block; a generator's settings are in the same block as `generator`.

    With `url` the dataset comes in an archive, and `path` names its data.yaml inside, or `splits`
    are paths inside. With `match: base-name` an image of format coco is the file with the same base
    name anywhere in its folder, and the rest of `file_name` is ignored.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal["ultralytics", "coco", "voc", "darknet"] | None = None
    path: StrictStr | None = None
    splits: CocoSplits | None = None
    match: Literal["base-name"] | None = None
    url: StrictStr | None = None
    sha256: Sha256 | None = None
    split: Split | None = None
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1)] | None = None
    generator: StrictStr | None = None

    @property
    def label(self) -> str:
        """Return the dataset's name in buildsys.lock.

        That is its file, its URL, or its annotation files.
        """
        files = (
            [f"{n} {s.annotations} {s.images}" for n, s in self.splits.given] if self.splits else []
        )
        return "; ".join([*filter(None, [self.url or self.path]), *files])

    @property
    def name(self) -> str:
        """Return the dataset's name in messages: its file, its URL, or the common folder of its
        annotation files and images, with their paths in it.
        """
        if self.splits is None or not self.splits.given:
            return self.label
        sheets = [sheet for _, sheet in self.splits.given]
        paths = dict.fromkeys([s.annotations for s in sheets] + [s.images for s in sheets])
        folder = _common_folder(list(paths))
        names = ", ".join(os.path.relpath(path, folder) if folder else path for path in paths)
        first = " ".join(filter(None, [self.url, folder]))
        return f"{first} ({names})" if first else names


def _common_folder(paths: list[str]) -> str:
    """Return the folder that contains all these paths; empty if they have none in common."""
    if len({os.path.isabs(path) for path in paths}) > 1:
        return ""
    return os.path.commonpath([os.path.dirname(os.path.normpath(path)) for path in paths])
