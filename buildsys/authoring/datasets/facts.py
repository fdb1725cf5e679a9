"""What the YAML cannot say: what a dataset holds and what a checkpoint is, read without its tools."""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from buildsys.authoring.syntax.confinement import check_dataset
from buildsys.authoring.syntax.document import Document, read_document
from buildsys.digest import canonical
from buildsys.errors import InputError
from buildsys.spec import CheckpointFacts

_MOST_KEYPOINTS = 1000
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """What a dataset declares. `splits`: (name, folders or list files relative to `root`).

    `file` is the yaml that declares it, from `root` too. `coco`: where its files are in COCO format,
    (split, annotation file, folder of pictures) from `root`; `splits` and `file` are then those of
    what is read from them. `crowds`: (split, annotations of whole groups, which are left out).
    """

    root: str
    names: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    sigmas: tuple[float, ...]
    splits: tuple[tuple[str, tuple[str, ...]], ...]
    file: str = "data.yaml"
    coco: tuple[tuple[str, str, str], ...] = ()
    crowds: tuple[tuple[str, int], ...] = ()

    def split(self, name: str) -> tuple[str, ...] | None:
        """The folders of a split, or None."""
        return dict(self.splits).get(name)


@dataclass(frozen=True, kw_only=True)
class RecordedDataset:
    """A dataset's line of buildsys.lock: `facts` have their `root` from the folder of its data.yaml;
    `archive` is the digest of the archive that it came in, or empty.
    """

    facts: DatasetFacts
    parts: tuple[str, ...]
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


def describe_dataset(
    facts: DatasetFacts, parts: tuple[str, ...], folder: Path, archive: str
) -> str:
    """JSON of what can be planned with where the dataset is not; `folder` holds its data.yaml.

    `archive`: digest of the archive that it came in, or empty.
    """
    data = dataclasses.asdict(facts) | {"root": os.path.relpath(facts.root, folder)}
    data = {key: value for key, value in data.items() if value or key not in ("coco", "crowds")}
    return canonical(data | {"parts": parts} | ({"archive": archive} if archive else {}))


def recall_dataset(known: RecordedDataset, folder: Path) -> DatasetFacts:
    """The facts of a dataset whose data.yaml would lie in `folder`."""
    root = os.path.normpath(folder / known.facts.root)
    return dataclasses.replace(known.facts, root=root)


def read_dataset(path: Path, label: str, inside: Path | None = None) -> DatasetFacts:
    """An Ultralytics data.yaml, which names nothing outside the folder `inside`.

    Raises InputError at the line that is wrong.
    """
    document = read_document(path, label)
    data = document.data
    if not isinstance(data, dict):
        raise InputError.at(label, "this is no data.yaml: no `key: value` lines")
    if inside is not None:
        check_dataset(inside, path, document)
    names = _read_names(document)
    keypoints, dims, sigmas = _read_keypoints(document)
    base = path.parent / str(data.get("path") or "")
    return DatasetFacts(
        root=str(base),
        names=names,
        keypoints=keypoints,
        keypoint_dims=dims,
        sigmas=sigmas,
        splits=_read_splits(document, base),
        file=os.path.relpath(path, base),
    )


def _read_names(document: Document) -> tuple[str, ...]:
    names = document.get("names")
    if not isinstance(names, dict | list) or not names:
        message, hint = "`names` lists no classes", "write `names: {0: tag}`"
        raise InputError(document.diagnose(("names",), message, hint))
    if isinstance(names, dict):
        wanted = [str(number) for number in range(len(names))]
        if names.keys() != set(wanted):
            message = "`names` numbers the classes from 0 and leaves none out"
            raise InputError(document.diagnose(("names",), message, "write `names: {0: tag}`"))
        names = [names[number] for number in wanted]
    if any(name is None or isinstance(name, bool | dict | list) for name in names):
        message, hint = "`names` are words", 'write `names: {0: tag}`, and quotes around "true"'
        raise InputError(document.diagnose(("names",), message, hint))
    return tuple(str(name) for name in names)


def _read_keypoints(document: Document) -> tuple[int, int, tuple[float, ...]]:
    """`kpt_shape` and, where they are given, the sigmas of its keypoints."""
    shape = document.get("kpt_shape") or [0, 0]
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(number) is int for number in shape)
        and (shape == [0, 0] or (0 < shape[0] <= _MOST_KEYPOINTS and shape[1] in (2, 3)))
    ):
        message = "`kpt_shape` is [number of keypoints, 2 or 3]"
        raise InputError(document.diagnose(("kpt_shape",), message))
    sigmas = document.get("kpt_oks_sigmas") or []
    if not isinstance(sigmas, list) or not all(map(_is_sigma, sigmas)):
        message = "`kpt_oks_sigmas` is a list of numbers above 0, one a keypoint"
        raise InputError(document.diagnose(("kpt_oks_sigmas",), message))
    if sigmas and len(sigmas) != shape[0]:
        message = f"`kpt_oks_sigmas` has {len(sigmas)} numbers for {shape[0]} keypoints"
        raise InputError(document.diagnose(("kpt_oks_sigmas",), message))
    return shape[0], shape[1], tuple(float(sigma) for sigma in sigmas)


def _is_sigma(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < float("inf")


def _read_splits(document: Document, base: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    splits = []
    for name in ("train", "val", "test"):
        entry = document.get(name)
        if entry is None:
            continue
        if isinstance(entry, dict) or not all(isinstance(e, str | int) for e in _list(entry)):
            message = f"`{name}` is a folder, or a list of folders"
            raise InputError(document.diagnose((name,), message, "for example images/train"))
        places = tuple(str(place) for place in _list(entry))
        for index, place in enumerate(places):
            if not os.path.exists(base / place):
                message = f"the {name} split names {place}, which does not exist"
                at = (name, index) if isinstance(entry, list) else (name,)
                raise InputError(document.diagnose(at, message, f"looked in {base.name or '.'}/"))
        splits.append((name, places))
    return tuple(splits)


def _list(entry: object) -> list[object]:
    return entry if isinstance(entry, list) else [entry]


def dataset_parts(facts: DatasetFacts) -> tuple[str, ...]:
    """The files and folders that are the dataset: its yaml, pictures, labels beside them."""
    parts = [facts.file] if facts.file else []
    for _, places in facts.splits:
        for place in places:
            parts.append(place)
            for folder in (place, *_listed_folders(Path(facts.root), place)):
                parts += [folder] if folder != place else []
                labels = _labels_beside(folder)
                if labels and (Path(facts.root) / labels).exists():
                    parts.append(labels)
    return tuple(dict.fromkeys(parts))


def _listed_folders(root: Path, place: str) -> list[str]:
    """The folders whose pictures a list file names, from the dataset's root."""
    if not place.endswith(".txt") or not os.path.isfile(root / place):
        return []
    try:
        lines = (root / place).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []  # the step that reads it says so
    base = os.path.dirname(place)
    found = {
        os.path.normpath(os.path.join(base, os.path.dirname(line.strip())))
        for line in lines
        if line.strip() and not os.path.isabs(line.strip())
    }
    return sorted(folder for folder in found if not folder.startswith(".."))


def watched_places(facts: DatasetFacts) -> set[Path]:
    """Folders whose coming or going changes what the dataset is."""
    places = [place for _, names in facts.splits for place in names]
    labels = [label for place in places if (label := _labels_beside(place))]
    return {Path(facts.root) / place for place in (*places, *labels)}


def _labels_beside(place: str) -> str:
    pieces = place.split("/")
    if "images" not in pieces:
        return ""
    pieces[len(pieces) - 1 - pieces[::-1].index("images")] = "labels"
    return "/".join(pieces)
