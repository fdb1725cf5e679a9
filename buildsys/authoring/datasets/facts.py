"""What the YAML cannot say: what a dataset holds and what a checkpoint is, read without its tools."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from buildsys.digest import canonical
from buildsys.errors import InputError
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.datasets import coco_format, prepared

T = TypeVar("T")
_OPTIONAL = ("crowds", "format", "flip")
"""Keys that a line of buildsys.lock leaves out where they are empty."""
_IMPLIED = ("ultralytics", "folders")
"""Formats that `file` tells apart, so that the line need not name them."""


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


@dataclass(frozen=True, kw_only=True)
class RecordedDataset:
    """A dataset's line of buildsys.lock: `facts` have their `root` from the folder of its data.yaml;
    `archive` is the digest of the archive that it came in, or empty. `coco`: what is given in COCO's
    format, (split, annotation file, folder of images) from the root.
    """

    facts: DatasetFacts
    parts: tuple[str, ...]
    coco: tuple[tuple[str, str, str], ...] = ()
    archive: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordedModel:
    """A model's line of buildsys.lock; `facts` of a checkpoint, None for other files."""

    digest: str
    facts: CheckpointFacts | None


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What buildsys.lock knows of datasets and models, which need not be on this machine.

    `lines`: ("dataset data/tags/data.yaml", JSON of its facts), …
    """

    lines: tuple[tuple[str, str], ...] = ()

    def dataset(self, label: str) -> RecordedDataset | None:
        """What is recorded of a dataset; None where it is not known. Raises InputError."""
        data = self._read(f"dataset {label}")
        if data is None:
            return None
        facts = _checked(DatasetFacts, data, f"dataset {label}")
        return _checked(RecordedDataset, data | {"facts": facts}, f"dataset {label}")

    def model(self, label: str) -> RecordedModel | None:
        """The same of a model file."""
        data = self._read(f"model {label}")
        if data is None:
            return None
        facts = _checked(CheckpointFacts, data, f"model {label}") if "task" in data else None
        return _checked(RecordedModel, {"digest": ""} | data | {"facts": facts}, f"model {label}")

    def has_pictures(self, pattern: str) -> bool:
        """Whether a set of pictures is known."""
        return self._read(f"pictures {pattern}") is not None

    def _read(self, key: str) -> dict[str, object] | None:
        text = dict(self.lines).get(key)
        return dict(json.loads(text)) if text is not None else None


def _checked(kind: type[T], data: dict[str, object], key: str) -> T:
    """A line of buildsys.lock as a value. Raises InputError where it is none."""
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        message = f"malformed lock entry `{key}`: {where}: {first['msg'].lower()}"
        hint = "delete the line; it is found again"
        raise InputError.at("buildsys.lock", message, hint) from error


def prepare_splits(facts: DatasetFacts) -> DatasetFacts:
    """The facts of data with a `format`, with `splits` and `file` as `prepare_dataset` makes them."""
    folders = facts.format == "folders"
    names = [name for name, _ in facts.given]
    file = "" if folders else "data.yaml"
    return dataclasses.replace(facts, splits=prepared.places(names, folders), file=file)


def describe_dataset(
    facts: DatasetFacts, parts: tuple[str, ...], folder: Path, archive: str
) -> str:
    """JSON of what can be planned with where the dataset is not; `folder` holds its data.yaml.

    `splits` are those of the files that are given. `archive`: digest of the archive that it came in,
    or empty.
    """
    data = dataclasses.asdict(facts) | {"root": os.path.relpath(facts.root, folder)}
    if facts.format in _IMPLIED:
        data["format"] = ""
    given = data.pop("given")
    if facts.format in coco_format.NAMES.values():
        data["format"] = ""  # the recipe has it
        data |= {"coco": [(name, file, images) for name, (images, file) in given]}
    else:
        data |= {"splits": given or facts.splits}
    data = {key: value for key, value in data.items() if value or key not in _OPTIONAL}
    return canonical(data | {"parts": parts} | ({"archive": archive} if archive else {}))


def recall_dataset(known: RecordedDataset, folder: Path, base_names: bool) -> DatasetFacts:
    """The facts of a dataset whose data.yaml would lie in `folder`; `base_names`: see `CocoFormat`."""
    root = os.path.normpath(folder / known.facts.root)
    facts = dataclasses.replace(known.facts, root=root)
    if known.coco:
        sheets = tuple((name, (images, file)) for name, file, images in known.coco)
        name = coco_format.NAMES[base_names]
        return prepare_splits(dataclasses.replace(facts, format=name, given=sheets))
    implied = "ultralytics" if facts.file else "folders"
    given = dataclasses.replace(facts, format=facts.format or implied, given=facts.splits)
    return prepare_splits(given)
