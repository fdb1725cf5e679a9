"""What the YAML cannot say: what a dataset holds and what a checkpoint is, read without its tools."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.recorded_facts import Facts, RecordedDataset, RecordedModel
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.datasets import coco_format, prepared

_IMPLIED = ("ultralytics", "folders")
"""Formats whose files are distinguishable, so that the line need not name the format."""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a dataset declares, and where its files are once every step can read them.

    `splits`: (name, folders relative to the dataset that steps get); `file` is the yaml in there that
    declares it, empty where classes are folders.

    `format`: how a person wrote it, a key of `steps.lib.datasets.formats`; empty where a generator
    draws it. `given`: (split, its places relative to `root`) in that format. `flip`: which keypoint is
    which in a mirror. `crowds`: (split, annotations of whole groups, which are left out).
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

    def split(self, name: str) -> tuple[str, ...] | None:
        """The folders of a split, or None."""
        return dict(self.splits).get(name)


def prepare_splits(facts: DatasetFacts) -> DatasetFacts:
    """The facts of data with a `format`, with `splits` and `file` as `prepare_dataset` makes them."""
    folders = facts.format == "folders"
    names = [name for name, _ in facts.given]
    file = "" if folders else "data.yaml"
    return dataclasses.replace(facts, splits=prepared.places(names, folders), file=file)


def describe_dataset(
    facts: DatasetFacts, parts: tuple[str, ...], folder: Path, archive: str
) -> RecordedDataset:
    """What can be planned with where the dataset is not; `folder` holds its data.yaml.

    `splits` are those of the files that are given. `archive`: digest of the archive that it came in,
    or empty.
    """
    in_coco = facts.format in coco_format.NAMES.values()  # then the recipe says the format
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
    """The facts of a dataset whose data.yaml would lie in `folder`; `base_names`: see `CocoFormat`."""
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
    """What can be planned with where the checkpoint is not; one with a problem is not recorded."""
    return RecordedModel(
        task=facts.task,
        names=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        architecture=facts.architecture,
        size=facts.size,
    )


def recall_checkpoint(known: Facts | None) -> CheckpointFacts | None:
    """The facts of a checkpoint by its line; None if there is no such line."""
    return CheckpointFacts(**vars(known)) if isinstance(known, RecordedModel) else None
