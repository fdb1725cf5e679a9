"""Facts that a recipe does not state: a dataset's content, a checkpoint's network.

They are read without the tools that use these files.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.coco_contents import Group
from buildsys.recorded_facts import Facts, RecordedDataset, RecordedModel
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.datasets import prepared
from buildsys.steps.lib.datasets.formats import coco_format

_IMPLIED = ("ultralytics", "folders")
"""Formats that are recognizable by their files, so that the lock line need not name them."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a dataset declares, and where its files are for the steps.

    `splits`: (name, folders relative to the dataset of the steps); `file`: the yaml there that
    declares it, empty where classes are folders.

    `format`: how a person wrote it, a key of `steps.lib.datasets.readers`; empty where a generator
    draws it. `given`: (split, its places relative to `root`) in that format. `flip`: which keypoint
    is which in a mirror image. `crowds`: (split, number of omitted annotations of whole groups).
    `absent`: (split, classes without an object in it), and `images`: (split, number of images),
    and `group`: a class that only groups the others, where reading the dataset shows them; they are
    not recorded.
    """

    root: str
    names: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    sigmas: tuple[float, ...]
    splits: tuple[tuple[str, tuple[str, ...]], ...]
    file: str = "data.yaml"
    crowds: tuple[tuple[str, int], ...] = ()
    format: str = ""
    given: tuple[tuple[str, tuple[str, ...]], ...] = ()
    flip: tuple[int, ...] = ()
    absent: tuple[tuple[str, tuple[str, ...]], ...] = ()
    images: tuple[tuple[str, int], ...] = ()
    group: Group | None = None

    def split(self, name: str) -> tuple[str, ...] | None:
        """Return the folders of a split, or None."""
        return dict(self.splits).get(name)


def prepare_splits(facts: DatasetFacts) -> DatasetFacts:
    """Return the facts of data with a `format`, with `splits` and `file` as `prepare_dataset` makes
    them.
    """
    folders = facts.format == "folders"
    names = [name for name, _ in facts.given]
    file = "" if folders else "data.yaml"
    return dataclasses.replace(facts, splits=prepared.places(names, folders), file=file)


def describe_dataset(
    facts: DatasetFacts, parts: tuple[str, ...], folder: Path, archive: str
) -> RecordedDataset:
    """Return the facts for planning without the dataset; `folder` contains its data.yaml.

    `splits` are those of the given files. `archive`: digest of the archive that it came in, or
    empty.
    """
    in_coco = facts.format in coco_format.NAMES.values()  # the recipe then states the format
    return RecordedDataset(
        root=os.path.relpath(facts.root, folder),
        names=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        sigmas=facts.sigmas,
        splits=facts.splits if in_coco else facts.given or facts.splits,
        parts=parts,
        file=facts.file,
        crowds=facts.crowds,
        format="" if in_coco or facts.format in _IMPLIED else facts.format,
        flip=facts.flip,
        coco=tuple((name, file, images) for name, (images, file) in facts.given) if in_coco else (),
        archive=archive,
    )


def recall_dataset(known: RecordedDataset, folder: Path, base_names: bool) -> DatasetFacts:
    """Return the facts of a recorded dataset at `folder`; `base_names`: see `CocoFormat`."""
    facts = DatasetFacts(
        root=os.path.normpath(folder / known.root),
        names=known.names,
        keypoints=known.keypoints,
        keypoint_dims=known.keypoint_dims,
        sigmas=known.sigmas,
        splits=known.splits,
        file=known.file,
        crowds=known.crowds,
        format=known.format,
        flip=known.flip,
    )
    if known.coco:
        sheets = tuple((name, (images, file)) for name, file, images in known.coco)
        name = coco_format.NAMES[base_names]
        return prepare_splits(dataclasses.replace(facts, format=name, given=sheets))
    implied = "ultralytics" if facts.file else "folders"
    given = dataclasses.replace(facts, format=facts.format or implied, given=facts.splits)
    return prepare_splits(given)


def describe_checkpoint(facts: CheckpointFacts) -> RecordedModel:
    """Return the facts for planning without the checkpoint; one with a problem is not recorded."""
    return RecordedModel(
        task=facts.task,
        names=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        architecture=facts.architecture,
        size=facts.size,
    )


def recall_checkpoint(known: Facts | None) -> CheckpointFacts | None:
    """Return a checkpoint's facts from its line in buildsys.lock; None without such a line."""
    return CheckpointFacts(**vars(known)) if isinstance(known, RecordedModel) else None
