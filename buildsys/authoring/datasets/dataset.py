"""The `dataset` block of one build: a generator, a folder, or an archive, and its content."""

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buildsys.authoring.datasets import folder_sets, image_counts, trees
from buildsys.authoring.datasets.blocks import Dataset, Split
from buildsys.authoring.datasets.class_folders import find_root, read_class_folders, watched_folders
from buildsys.authoring.datasets.coco_folders import correct_folders
from buildsys.authoring.datasets.coco_sets import (
    Known,
    check_files,
    check_format,
    coco_parts,
    find_place,
    read_sets,
)
from buildsys.authoring.datasets.data_guess import suggest_line
from buildsys.authoring.datasets.data_yaml import (
    NAMES as DATA_YAML,
)
from buildsys.authoring.datasets.data_yaml import (
    SUFFIXES,
    MissingPart,
    dataset_parts,
    read_dataset,
    watched_places,
)
from buildsys.authoring.datasets.facts import (
    DatasetFacts,
    describe_dataset,
    recall_dataset,
)
from buildsys.authoring.datasets.leftovers import is_own
from buildsys.authoring.step_settings import StepSettings
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.scope import Scope
from buildsys.authoring.syntax.workspace_paths import NAMES, hint_missing
from buildsys.errors import InputError
from buildsys.graph import Archive
from buildsys.lockfile import Lock
from buildsys.recorded_facts import Fact, RecordedDataset
from buildsys.registry import get_step, kinds
from buildsys.steps.lib.datasets import prepared
from buildsys.text import did_you_mean


class DatasetContext(Protocol):
    """What a build's lookup needs of the loader: recorded facts, unpacked archives, files already
    read.
    """

    recorded: Lock
    datasets: Path
    sheets: Known
    folders: folder_sets.Known
    trees: trees.Known
    counts: image_counts.Known

    @property
    def data(self) -> "KnownData":
        """Return the data found for other builds."""


class Assembling(Protocol):
    """What a lookup of data needs of the build that is being assembled."""

    workspace: Path
    scope: Scope
    read: set[Path]

    @property
    def around(self) -> DatasetContext:
        """Return the state of the loader."""

    def settings(self, verb: str, kind: str, data: object, at: KeyPath) -> StepSettings | None:
        """Return the settings of the step `<verb>_<kind>`."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """The data of a build; every field is empty for a build without data.

    `generator`: its settings; `split`: root and shares of data that is not split; `facts`: lines
    for buildsys.lock; `home`: see `Source.home`; `waiting_for`: what is not on this machine;
    `missing_parts`: parts that the dataset lacks.
    """

    generator: StepSettings | None = None
    dataset: DatasetFacts | None = None
    parts: tuple[str, ...] = ()
    home: str = ""
    split: tuple[str, Split] | None = None
    archive: Archive | None = None
    waiting_for: str = ""
    facts: tuple[Fact, ...] = ()
    missing_parts: tuple[MissingPart, ...] = ()


_Reader = Callable[[Assembling, Dataset, Path, str], Data]
KnownData = dict[tuple[str, str | None], tuple[Data, frozenset[Path]]]
"""By a block's text and the task: its data, and the files that define it. Builds share their data.
"""


def find_data(build: Assembling, block: Dataset | None, task: str | None) -> Data:
    """Look up the block's data, and check that all its files can be read. Raises InputError.

    `task`: that of the source model.
    """
    if block is None:
        return Data()
    known, key = build.around.data, (repr(block), task)
    if key not in known:
        others, build.read = build.read, set()
        try:
            data = _look_up(build, block, task)
            known[key] = data, frozenset(build.read)
        finally:
            others |= build.read
            build.read = others
    data, files = known[key]
    build.read |= files
    return data


def count_split(
    data: Data, split: str, most: int, known: image_counts.Known
) -> image_counts.ImageCount | None:
    """Return the number of images of a split, counted up to `most`; None if it is not known."""
    if data.generator is not None:
        number = vars(data.generator).get(split)
        if not isinstance(number, int):
            return None
        return image_counts.ImageCount(number=min(number, most))
    if data.dataset is None:
        return None
    return image_counts.count_images(data.dataset, split, most, known, data.split)


def _look_up(build: Assembling, block: Dataset, task: str | None) -> Data:
    data = _find_data(build, block, task)
    if block.generator is not None or data.dataset is None:
        return data
    home = str(_home(build, block) or "")
    root = data.split[0] if data.split is not None else data.dataset.root
    labelled = data.dataset.format in trees.LABELLED
    trees.check_tree(root, data.parts, home, block.name, build.around.trees, labelled)
    return dataclasses.replace(data, home=home)


def _find_data(build: Assembling, block: Dataset, task: str | None) -> Data:
    if block.format == "coco" or block.splits is not None or block.match is not None:
        check_format(build.scope, block, task or "detect")
    folder_sets.check_format(build.scope, block, task or "detect")
    extra = dict(block.model_extra or {})
    if block.generator is not None:
        return _generated(build, block, task or "detect", extra)
    if extra:
        name = next(iter(extra))
        hint = did_you_mean(name, (*_fields(), "generator"))
        raise InputError(
            build.scope.locate(("dataset", name), f"unknown key `{name}`", hint, key=True)
        )
    if block.url is not None:
        return _archived(build, block, block.url, task)
    if block.splits is not None:
        return _read_sets(build, block, build.workspace, task)
    if block.path is None:
        message = "`dataset` needs one of `path`, `url` and `generator`"
        raise InputError(build.scope.locate(("dataset",), message, key=True))
    path = Path(os.path.normpath(build.workspace / os.path.expanduser(block.path)))
    return _reader(block, task)(build, block, path, block.path)


def _reader(block: Dataset, task: str | None) -> _Reader:
    """Return the function that reads the one file or folder of a dataset."""
    if block.format in folder_sets.FORMATS:
        return _read_folder
    return _read_classes if task == "classify" else _read


def _fields() -> tuple[str, ...]:
    return tuple(name for name in Dataset.model_fields if name != "generator")


def _generated(build: Assembling, block: Dataset, task: str, extra: dict[str, object]) -> Data:
    name = block.generator or ""
    for key in _fields():
        if key != "format" and getattr(block, key) is not None:
            message = f"`generator` draws the images; `{key}` has no effect with it"
            hint = f"remove one of them (`{key}: null` removes the value of a base)"
            raise InputError(build.scope.locate(("dataset", key), message, hint, key=True))
    if name not in kinds("generate"):
        hint = did_you_mean(name, kinds("generate"))
        message = f"there is no generator `{name}`"
        raise InputError(build.scope.locate(("dataset", "generator"), message, hint))
    spec = get_step(f"generate_{name}").spec
    if task not in spec.tasks or spec.facts is None:
        message = f"the generator `{name}` has no labels for task {task}"
        hint = did_you_mean("", [kind for kind in kinds("generate") if _draws(kind, task)])
        raise InputError(build.scope.locate(("dataset", "generator"), message, hint))
    settings = build.settings("generate", name, extra, ("dataset",))
    known = spec.facts(task)
    file = "" if task == "classify" else "data.yaml"
    return Data(generator=settings, dataset=DatasetFacts(root="", file=file, **vars(known)))


def _draws(kind: str, task: str) -> bool:
    return task in get_step(f"generate_{kind}").spec.tasks


def _archived(build: Assembling, block: Dataset, url: str, task: str | None) -> Data:
    """Return a dataset from an archive: unpacked, known from buildsys.lock, or waited for."""
    if block.sha256 is None:
        message = "`dataset` needs a `sha256`: the file on the server can change"
        hint = "run `buildsys pin`, which fetches the archive and writes the digest"
        raise InputError(build.scope.locate(("dataset",), message, hint, key=True))
    archive = Archive(url=url, sha256=block.sha256)
    folder = build.around.datasets / block.sha256
    build.read.add(folder)
    if not os.path.isdir(folder):
        known = _recorded(build, block.label)
        if known is None or known.archive != block.sha256:
            return Data(archive=archive, waiting_for=url)
        return dataclasses.replace(_recalled(build, block, known, folder), archive=archive)
    if block.splits is not None:
        data = _read_sets(build, block, folder, task)
    else:
        read = _reader(block, task)
        path = folder / block.path if block.path else _find_in(build, block, folder, read)
        data = read(build, block, path, "" if read is _read_folder else url)
    return dataclasses.replace(data, archive=archive)


def _find_in(build: Assembling, block: Dataset, folder: Path, read: _Reader) -> Path:
    """Return the file or folder of an unpacked archive that `read` reads."""
    if read is _read_folder:
        return folder_sets.find_root(folder, block.format or "")
    if read is _read_classes:
        return find_root(folder) or folder
    return _find_data_yaml(build, folder)


def _find_data_yaml(build: Assembling, folder: Path) -> Path:
    """Return the one data.yaml of an archive."""
    found = sorted(path for name in DATA_YAML for path in folder.glob(f"**/{name}"))
    found = found or sorted(path for end in SUFFIXES for path in folder.glob(f"*{end}"))
    found = [path for path in found if is_own(path.relative_to(folder))]
    if len(found) != 1:
        names = ", ".join(str(path.relative_to(folder)) for path in found[:5])
        message = f"the archive has {len(found) or 'no'} data.yaml" + (
            f": {names}" if names else ""
        )
        hint = "write `path`, relative to the archive's root"
        raise InputError(build.scope.locate(("dataset",), message, hint, key=True))
    return found[0]


def _read(build: Assembling, block: Dataset, path: Path, label: str) -> Data:
    # os.path throughout: Path raises where a name is too long
    build.read.add(path)
    if not os.path.isfile(path):
        known = _recorded(build, label)
        if known is not None and not os.path.isdir(path.parent):
            return _recalled(build, block, known, path.parent)
        if os.path.isdir(path):
            message = f"{block.path} is a directory; `path` names its data.yaml"
            hint = suggest_line(build.workspace, os.path.relpath(path, build.workspace))
            raise InputError(build.scope.locate(("dataset", "path"), message, hint))
        message = f"{block.path} does not exist"
        hint = hint_missing(path, block.path or "")
        raise InputError(build.scope.locate(("dataset", "path"), message, hint))
    if path.suffix not in SUFFIXES:
        hint = suggest_line(build.workspace, os.path.relpath(path, build.workspace))
        if hint:
            message = f"{block.path} is not a data.yaml"
            raise InputError(build.scope.locate(("dataset", "path"), message, hint))
    found = read_dataset(path, label if label == block.path else path.name, _home(build, block))
    build.read |= {*watched_places(found.facts), *found.absent}
    data = _split(build, block, found.facts, found.parts, label, path.parent)
    return dataclasses.replace(data, missing_parts=found.missing_parts)


def _read_classes(build: Assembling, block: Dataset, path: Path, label: str) -> Data:
    """Return data to classify; `path` is the folder with train/<class>/… or <class>/…"""
    build.read |= watched_folders(path)
    at = ("dataset", "path")
    if os.path.isfile(path):
        message = (
            f"{block.path} is a file; for task classify `path` names the folder of the dataset"
        )
        hint = f"{os.path.dirname(block.path or '') or '.'}, with train/<class>/*.jpg or <class>/*.jpg in it"
        raise InputError(build.scope.locate(at, message, hint))
    if not os.path.isdir(path):
        known = _recorded(build, label)
        if known is not None:
            return _recalled(build, block, known, path)
        message = f"{block.path} does not exist"
        hint = hint_missing(path, block.path or "")
        raise InputError(build.scope.locate(at, message, hint))
    _check_folder(build, block, path)
    facts = read_class_folders(path, label)
    return _split(build, block, facts, dataset_parts(path, facts.given), label, path)


def _read_sets(build: Assembling, block: Dataset, base: Path, task: str | None) -> Data:
    """Return data in COCO format; written paths start at `base`."""
    place = find_place(block, base)
    parts = coco_parts(place)
    build.read |= {place.root, *(place.root / part for part in parts)}
    known = _recorded(build, block.label) if not os.path.isdir(place.root) else None
    if known is not None:
        return _recalled(build, block, known, place.root)
    check_files(build.scope, place, "archive" if block.url else "workspace")
    try:
        found = read_sets(place, task or "detect", build.around.sheets)
    except InputError as error:
        raise correct_folders(build.scope, place, error) from error
    data = _split(build, block, found.facts, parts, block.label, place.root)
    return dataclasses.replace(data, missing_parts=found.missing_parts)


def _read_folder(build: Assembling, block: Dataset, path: Path, label: str) -> Data:
    """Return data in a folder of format voc or darknet; `label`: its name in messages."""
    build.read.add(path)
    root, name = folder_sets.root_of(path), label or block.label
    if not os.path.exists(path):
        known = _recorded(build, name)
        if known is not None and not os.path.isdir(root):
            return _recalled(build, block, known, root)
        message = f"{block.path} does not exist"
        hint = hint_missing(path, block.path or "")
        raise InputError(build.scope.locate(("dataset", "path"), message, hint))
    if not os.path.isdir(path) and root == path:
        message = f"{block.path} is a file; `path` names the folder of the dataset"
        hint = os.path.dirname(block.path or "") or "."
        raise InputError(build.scope.locate(("dataset", "path"), message, hint))
    _check_folder(build, block, root)
    found = folder_sets.read_folder(path, label, block, build.around.folders)
    build.read |= found.read
    data = _split(build, block, found.facts, found.parts, name, root)
    return dataclasses.replace(data, missing_parts=found.missing_parts)


def _check_folder(build: Assembling, block: Dataset, folder: Path) -> None:
    """Check a folder's files before reading them, since messages may quote their content."""
    home = str(_home(build, block) or "")
    trees.check_tree(str(folder), (".",), home, block.name, build.around.trees)


def _home(build: Assembling, block: Dataset) -> Path | None:
    """Return the folder that a dataset's paths must not leave: its archive or the workspace.

    Returns None for a dataset that buildsys.yaml names.
    """
    if block.url is not None:
        return build.around.datasets / (block.sha256 or "")
    named = any(layer.document.path == NAMES for layer in build.scope.layers)
    return None if named else build.workspace


def _recorded(build: Assembling, label: str) -> RecordedDataset | None:
    """Return the facts of a dataset in buildsys.lock, which need not be on this machine.

    The plan uses them.
    """
    build.read.add(build.workspace / "buildsys.lock")
    known = build.around.recorded.content(f"dataset {label}")
    return known.facts if known is not None and isinstance(known.facts, RecordedDataset) else None


def _recalled(build: Assembling, block: Dataset, known: RecordedDataset, folder: Path) -> Data:
    facts = recall_dataset(known, folder, block.match is not None)
    if os.path.lexists(facts.root):  # a place that only the lock names is not read
        message = f"buildsys.lock names a folder of {block.name}, but {folder} does not exist"
        hint = "restore the dataset, or delete its line in buildsys.lock; buildsys writes it again"
        raise InputError(build.scope.locate(("dataset",), message, hint, key=True))
    return _split(build, block, facts, known.parts, block.label, folder)


def _split(
    build: Assembling,
    block: Dataset,
    facts: DatasetFacts,
    parts: tuple[str, ...],
    label: str,
    folder: Path,
) -> Data:
    described = describe_dataset(facts, parts, folder, block.sha256 or "")
    line = Fact(key=f"dataset {label}", facts=described)
    if block.split is None:
        return Data(dataset=facts, parts=parts, facts=(line,))
    given = dict(facts.given or facts.splits)
    taken = [
        name for name in ("val", "test") if name in given and given[name] != given.get("train")
    ]
    if taken or "train" not in given:
        what = f"already has a {taken[0]} split" if taken else "has no `train` split to divide"
        message = f"the dataset {what}; `split` has no effect"
        raise InputError(build.scope.locate(("dataset", "split"), message, "remove it", key=True))
    if block.split.val + block.split.test >= 1:
        message = "`val` and `test` leave no images to train on"
        raise InputError(build.scope.locate(("dataset", "split"), message, "val: 0.2", key=True))
    names = ("train", "val", "test") if block.split.test else ("train", "val")
    made = dataclasses.replace(
        facts,
        root="",
        splits=prepared.places(names, folders=facts.format == "folders"),
        given=tuple(pair for pair in facts.given if pair[0] == "train"),
    )
    return Data(dataset=made, parts=parts, split=(facts.root, block.split), facts=(line,))
