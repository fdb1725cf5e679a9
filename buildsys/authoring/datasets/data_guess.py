"""What a person gives as data -> a whole `dataset` block, by what lies there."""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets import data_yaml, folder_sets
from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.class_folders import read_class_folders
from buildsys.authoring.datasets.coco_guess import SHARE, guess_sets
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.syntax.scalars import scalar
from buildsys.errors import InputError
from buildsys.steps.lib.datasets import darknet_format, prepared, voc_format
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.images import is_image
from buildsys.steps.lib.datasets.labels import Finding

_KINDS = (
    "a data.yaml of Ultralytics' kind, COCO's JSON, Pascal VOC's folders (Annotations, JPEGImages),"
    " darknet's obj.data or classes.txt, a folder a class (train/<class>/), or images alone"
)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What was found: the keys of the `dataset` block, some with a comment, and what the data says of
    itself. Images alone have neither; `images` is then the pattern that finds them.
    """

    keys: tuple[str, ...] = ()
    facts: DatasetFacts | None = None
    images: str = ""

    @property
    def block(self) -> str:
        """The block as it stands in a recipe: a key a line where there are more than two."""
        if len(self.keys) > 2 or self.keys[:1] == ("format: coco",):
            return "\n".join(["dataset:", *(f"  {key}" for key in self.keys)])
        return self.line if self.keys else ""

    @property
    def line(self) -> str:
        """The same in one line, without comments."""
        return f"dataset: {{{', '.join(key.partition('   # ')[0] for key in self.keys)}}}"


def guess_data(root: Path, data: str, task: str) -> Guess:
    """`data`: a file or folder, from the workspace's root; `task` empty: what the labels are for.

    Raises InputError where it is nothing that is known, or has mistakes.
    """
    path = root / data
    if path.is_dir():
        return _guess_folder(root, data, task)
    name = path.name.lower()
    if name.endswith(".json"):
        found = guess_sets(root, data, task)
        return Guess(keys=found.keys, facts=found.facts)
    if name.endswith(".data"):
        return _read_folder(root, data, "darknet")
    if path.name in darknet_format.NAMES or name.endswith(".xml"):
        home = path.parent
        while name.endswith(".xml") and home != root and not voc_format.find_splits(home):
            home = home.parent
        known = "voc" if name.endswith(".xml") else "darknet"
        home = home.parent if home.name == "Annotations" else home
        return _read_folder(root, os.path.relpath(home, root), known)
    if is_image(path):
        message, hint = "is one image", "give the folder that it is in"
        raise InputError.at(data, message, hint)
    return _read_yaml(root, data)


def suggest_line(root: Path, data: str) -> str:
    """What to write in a recipe to use what lies at `data`; empty where nothing is known of it."""
    try:
        guess = guess_data(root, data, "")
    except (InputError, OSError):
        return ""
    if guess.images:
        images = f"quantization: {{calibration: {{images: {scalar(guess.images)}}}}}"
        return f"images without labels calibrate: `{images}`"
    return f"write `{guess.line}`"


def _guess_folder(root: Path, data: str, task: str) -> Guess:
    folder = root / data
    for name in data_yaml.NAMES:
        if (folder / name).is_file():
            return _read_yaml(root, _join(data, name))
    if voc_format.find_splits(folder):
        home = voc_format.find_root(folder)
        if home is None:
            message = "holds several datasets in Pascal VOC's format"
            raise InputError.at(data, message, "give the folder of one")
        return _read_folder(root, os.path.relpath(home, root), "voc")
    if not isinstance(darknet_format.find_set(folder), Finding) or list(folder.glob("*.data")):
        return _read_folder(root, data, "darknet")
    sheets = _annotation_files(folder)
    if sheets:
        found = guess_sets(root, _join(data, sheets[0]), task)
        return Guess(keys=found.keys, facts=found.facts)
    if any(path.is_dir() for path in folder.glob("train/*")):
        facts = read_class_folders(folder, data)
        return _share(facts, "format: ultralytics", f"path: {scalar(data)}")
    return _find_images(folder, data)


def _read_yaml(root: Path, data: str) -> Guess:
    facts = data_yaml.read_dataset(root / data, data, root).facts
    return _share(facts, "format: ultralytics", f"path: {scalar(data)}")


def _read_folder(root: Path, data: str, known: str) -> Guess:
    block = Dataset.model_validate({"format": known, "path": data})
    found = folder_sets.read_folder(root / data, data, block, {})
    keys = [f"format: {known}", f"path: {scalar(data)}"]
    if known == "voc":
        names = ", ".join(map(scalar, found.facts.names))
        keys.append(f"classes: [{names}]   # in this order; the format has none of its own")
    return _share(found.facts, *keys)


def _share(facts: DatasetFacts, *keys: str) -> Guess:
    """The block; where there is nothing but train, a share of it becomes val."""
    names = [name for name, _ in facts.given]
    if names == ["train"]:
        keys = (*keys, f"split: {SHARE}")
        splits = prepared.places(("train", "val"), facts.format == "folders")
        facts = dataclasses.replace(facts, splits=splits)
    return Guess(keys=keys, facts=facts)


def _annotation_files(folder: Path) -> list[str]:
    """JSON files where COCO's usually are, from there, the likeliest first; a split of another name is
    found from that of train.
    """
    places = ("", "annotations/", "train/")
    found = [path for place in places for path in folder.glob(f"{place}*.json")]
    names = [path.relative_to(folder).as_posix() for path in sorted(found)]
    return sorted(names, key=lambda name: "train" not in name)


def _find_images(folder: Path, data: str) -> Guess:
    """Images without a label: they can calibrate a network."""
    files = [Path(name) for name in list_files(folder)]
    images = [path for path in files if is_image(path)]
    if not images:
        message = "is a folder in which nothing is found that is known as data"
        raise InputError.at(data, message, f"there are: {_KINDS}")
    endings = {path.suffix for path in images}
    ending = endings.pop() if len(endings) == 1 else ""
    return Guess(images=_join(data, f"**/*{ending}"))


def _join(folder: str, name: str) -> str:
    return name if folder in ("", ".") else f"{folder.rstrip('/')}/{name}"
