"""Reads an Ultralytics data.yaml: what it declares, and where its images and labels are.

Paths are found as by Ultralytics 8.4 (`data/utils.py`, `check_det_dataset`): a split starts at
`path`, and is tried without a leading `../` (Roboflow writes one). A `path` from another machine,
or in Ultralytics' folder of datasets, is ignored if the splits are beside the file itself.
"""

import contextlib
import dataclasses
import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from buildsys.authoring.datasets.facts import DatasetFacts, prepare_splits
from buildsys.authoring.datasets.findings import diagnose_one
from buildsys.authoring.datasets.label_folders import suggest_names
from buildsys.authoring.datasets.name_forms import explain_forms
from buildsys.authoring.syntax.document import Document, KeyPath, read_document
from buildsys.authoring.syntax.workspace_paths import WITHIN, check_inside, hint_missing
from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.label_files import LabelFiles
from buildsys.steps.lib.datasets.labels import (
    OUTLINE,
    Finding,
    Layout,
    is_class_name,
    label_path,
    parse,
    read_text,
)
from buildsys.steps.lib.datasets.split_names import SPLITS, find_splits
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_images, iterate_images
from buildsys.steps.lib.files import foreign
from buildsys.steps.lib.images.decoding import SUFFIXES as SUFFIXES_OF_IMAGES

NAMES = ("data.yaml", "data.yml")
"""The usual name of the file."""
SUFFIXES = (".yaml", ".yml")
_SPELLED = {
    "names": ("names",),
    "kpt_shape": ("kpt_shape",),
    "flip_idx": ("flip_idx",),
    **{split: SPLITS[split] for split in ("train", "val")},
}
"""The keys without which a dataset is another one, each with its accepted spellings."""
_MOST_KEYPOINTS = 1000
_MOST_NAMED = 20
"""The most classes that a hint lists."""
FLIPPED = (
    "for each keypoint, the number of the keypoint that takes its place in a mirrored image (the left"
    " ear becomes the right ear, the nose stays)"
)
"""The content of `flip_idx`."""
_BOOLEANS = re.compile("(?i:true|false|yes|no|on|off)")
"""Words that YAML 1.1, which other tools read, or YAML 1.2 treat as booleans."""
_OTHER_SYSTEM = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""The start of an absolute path of Windows: always that of another machine."""


@dataclass(frozen=True, kw_only=True)
class MissingPart:
    """A part that a dataset lacks, with the diagnostic for recipes that need it.

    `what`: the images of a split, the labels of a split, or (`split` empty) the mirrored keypoints.
    """

    split: str
    what: Literal["images", "labels", "flip"]
    diagnostic: Diagnostic


@dataclass(frozen=True, kw_only=True)
class DataYaml:
    """A data.yaml's facts, the files and folders of the dataset, missing parts and their places.

    `outlines`: where the first label of a dataset without keypoints is longer than a box.
    """

    facts: DatasetFacts
    parts: tuple[str, ...]
    missing_parts: tuple[MissingPart, ...]
    absent: tuple[Path, ...] = ()
    outlines: Diagnostic | None = None


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A folder or list of a split: its absolute path, and where it is written."""

    path: str
    written: str
    at: KeyPath


def read_dataset(path: Path, label: str, inside: Path | None = None) -> DataYaml:
    """Read an Ultralytics data.yaml whose paths must not leave the folder `inside`.

    Raises InputError at the wrong line.
    """
    document = read_document(path, label)
    if not isinstance(document.data, dict):
        instead = foreign.stand_in("\n".join(document.lines).encode())
        if instead is not None:
            raise InputError.at(label, *instead)
        raise InputError.at(label, "this file is not a data.yaml: it has no `key: value` lines")
    _check_all(document, path.parent, inside)
    names = _read_names(document)
    keypoints, dims, sigmas = _read_keypoints(document)
    flip = _read_flip(document, keypoints)
    base, places, missing = _find_places(document, path.parent, inside)
    missing_parts = [
        _missing_images(document, split, place, base, inside) for split, place in missing.items()
    ]
    root = _choose_root(path.parent, base, places)
    given = tuple(
        (split, tuple(os.path.relpath(place.path, root) for place in found))
        for split, found in places.items()
    )
    facts = DatasetFacts(
        root=str(root),
        names=names,
        keypoints=keypoints,
        keypoint_dims=dims,
        sigmas=sigmas,
        splits=(),
        format="ultralytics",
        given=given,
        flip=flip,
    )
    labelled = {split: _find_labelled(root, split, found) for split, found in given}
    missing_parts += [
        MissingPart(
            split=split,
            what="labels",
            diagnostic=_unlabelled(document, path.parent, root, split, found, places[split][0]),
        )
        for split, found in given
        if not labelled[split]
    ]
    outlines = None
    if not keypoints:
        first = (image for image in labelled.values() if image)
        outlines = _judge_columns(document, path.parent, root, first, names)
    if keypoints and not flip:
        message = "`flip_idx` is missing, so training does not mirror images"
        hint = f"write `flip_idx: […]`: {FLIPPED}"
        at = document.diagnose(("kpt_shape",), message, hint, key=True, severity="warning")
        missing_parts.append(MissingPart(split="", what="flip", diagnostic=at))
    file = os.path.relpath(path, root)
    parts = (file, *dataset_parts(root, given))
    absent = tuple(Path(place.path) for place in missing.values())
    return DataYaml(
        facts=prepare_splits(facts),
        parts=parts,
        missing_parts=tuple(missing_parts),
        absent=absent,
        outlines=outlines,
    )


def _check_all(document: Document, folder: Path, inside: Path | None) -> None:
    """Raise InputError with the mistakes of every key, not only of the first one.

    With a mistake, that includes the paths of splits that no machine can have.
    """
    misspelled = _find_misspelled(document)
    problems = list(misspelled.values())
    if "names" not in misspelled:
        with _collected(problems):
            _read_names(document)
    with _collected(problems):
        _read_flip(document, _read_keypoints(document)[0])
    with _collected(problems):
        _find_places(document, folder, inside)
    if not problems:
        return
    with contextlib.suppress(InputError):
        known = {problem.line for problem in problems}
        wrong = _wrong_paths(document, folder, inside)
        problems += [found for found in wrong if found.line not in known]
    raise InputError(*problems)


def _find_misspelled(document: Document) -> dict[str, Diagnostic]:
    """Return, for each missing key, the diagnostic of an unknown one that is almost like it.

    Other tools' keys are allowed, so a key counts only where the one that it resembles is missing.
    """
    assert isinstance(document.data, dict)
    found: dict[str, Diagnostic] = {}
    for key, spelled in _SPELLED.items():
        if document.data.keys().isdisjoint(spelled):
            for word in document.data:
                if meant := _find_meant(str(word).lower(), spelled):
                    message, hint = f"unknown key `{word}`", f"did you mean `{meant}`?"
                    found[key] = document.diagnose((word,), message, hint, key=True)
    return found


def _find_meant(word: str, spelled: tuple[str, ...]) -> str | None:
    """Return which of the keys has the same letters in another order, or nearly the same.

    `text.nearest` also accepts parts of a word, which here may be another tool's key.
    """
    same = [key for key in spelled if sorted(key) == sorted(word)]
    return next(iter(same or difflib.get_close_matches(word, spelled, 1, 0.8)), None)


@contextlib.contextmanager
def _collected(problems: list[Diagnostic]) -> Iterator[None]:
    """Add the diagnostics of an InputError to `problems`."""
    try:
        yield
    except InputError as error:
        problems += error.diagnostics


def _wrong_paths(document: Document, folder: Path, inside: Path | None) -> list[Diagnostic]:
    """Return where splits name paths that cannot be in `inside`. Raises InputError."""
    if inside is None:
        return []
    start = os.path.relpath(folder, inside)
    return [
        document.diagnose(place.at, *wrong)
        for place in _resolve(str(folder), _entries(document))[1].values()
        if (wrong := check_inside(inside, place.written, start=start, hint=WITHIN)) is not None
    ]


def dataset_parts(root: Path, given: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[str, ...]:
    """Return the splits' files and folders relative to the root: images, and labels beside them."""
    parts: list[str] = []
    for _, places in given:
        for place in places:
            parts.append(place)
            for folder in (place, *_listed_folders(root, place)):
                parts += [folder] if folder != place else []
                labels = str(label_path(PurePosixPath(folder)))
                if labels != folder and os.path.exists(root / labels):
                    parts.append(labels)
    return tuple(dict.fromkeys(parts))


def watched_places(facts: DatasetFacts) -> set[Path]:
    """Return folders whose creation or removal changes the dataset."""
    root = Path(facts.root)
    places = [place for _, names in facts.given for place in names]
    labels = [str(label_path(PurePosixPath(place))) for place in places]
    return {root / place for place in (*places, *labels)}


def _read_names(document: Document) -> tuple[str, ...]:
    names = document.get("names")
    if not isinstance(names, dict | list) or not names:
        message, hint = "`names` lists no classes", "write `names: {0: tag}`"
        number = document.get("nc")
        if type(number) is int and 0 < number <= _MOST_NAMED:
            names = ", ".join(f"class_{index}" for index in range(number))
            hint = f"write `names: [{names}]`, which are Ultralytics' defaults, or your own names"
        raise InputError(document.diagnose(("names",), message, hint))
    keys: list[str | int] = list(range(len(names)))
    if isinstance(names, dict):
        keys = [str(number) for number in range(len(names))]
        if names.keys() != set(keys):
            message = "the numbers of the classes in `names` must be 0, 1, 2, …, without gaps"
            raise InputError(document.diagnose(("names",), message, _fill_names(document, names)))
    words = [_written(document, key) for key in keys]
    problems = []
    for key, word in zip(keys, words, strict=True):
        value = document.get("names", key)
        if isinstance(value, str) and not is_class_name(value):
            message = f"the name of class {key} is empty or cannot be printed"
            hint = "give the class a printable name"
            problems.append(document.diagnose(("names", key), message, hint))
        elif not isinstance(value, str) or _is_plain_boolean(document, key):
            message = f"class names must be strings; {f'`{word}`' if word else 'this'} is not one"
            problems.append(document.diagnose(("names", key), message, _line_to_write(words)))
    if problems:
        raise InputError(*problems)
    first: dict[str, str | int] = {}
    for key, word in zip(keys, words, strict=True):
        if first.setdefault(word, key) != key:
            message = f"duplicate class name `{word}`: class {first[word]} and class {key}"
            problems.append(
                document.diagnose(("names", key), message, "give every class a different name")
            )
    if problems:
        raise InputError(*problems)
    _check_count(document, len(words))
    return tuple(words)


def _fill_names(document: Document, names: Collection[str]) -> str:
    """Return the line to write for names with gaps, if their numbers are those of the labels."""
    numbers = [int(key) for key in names if key.isdecimal() and len(key) < 4]
    if len(numbers) < len(names) or max(numbers) > _MOST_NAMED:
        return "write `names: {0: tag}`"
    words = {number: _written(document, str(number)) for number in sorted(numbers)}
    row = (f"{n}: {words.get(n) or f'class_{n}'}" for n in range(max(numbers) + 1))
    return f"write `names: {{{', '.join(row)}}}`, with your own names"


def _written(document: Document, key: str | int) -> str:
    """Return a class name as written in the file."""
    value = document.get("names", key)
    if isinstance(value, str):
        return value
    mark = document.values.get(("names", key))
    if mark is None or value is None or isinstance(value, dict | list):
        return ""
    return document.lines[mark.line - 1][mark.column - 1 : mark.column - 1 + mark.length]


def _is_plain_boolean(document: Document, key: str | int) -> bool:
    """Return whether other tools read an unquoted name as a boolean."""
    word, mark = str(document.get("names", key)), document.values.get(("names", key))
    if mark is None or not _BOOLEANS.fullmatch(word):
        return False
    return document.lines[mark.line - 1][mark.column - 1 : mark.column] not in ("'", '"')


def _line_to_write(words: list[str]) -> str:
    shown = ", ".join(f'"{word or f"class {number}"}"' for number, word in enumerate(words[:8]))
    return f"write `names: [{shown}{', …' if len(words) > 8 else ''}]`"


def _check_count(document: Document, count: int) -> None:
    number = document.get("nc")
    if isinstance(number, str | bool):
        message = f"`nc` must be a number, not {'text' if isinstance(number, str) else 'a boolean'}"
        raise InputError(document.diagnose(("nc",), message, f"write `nc: {count}`"))
    if number is not None and number != count:
        message = f"`nc` is {number}, but `names` has {count}"
        hint = f"write `nc: {count}`, remove it, or name the other classes"
        raise InputError(document.diagnose(("nc",), message, hint))


def _read_keypoints(document: Document) -> tuple[int, int, tuple[float, ...]]:
    """Return `kpt_shape` and, if given, the sigmas of the keypoints."""
    shape = document.get("kpt_shape") or [0, 0]
    if not (
        isinstance(shape, list)
        and len(shape) == 2
        and all(type(number) is int for number in shape)
        and (shape == [0, 0] or (0 < shape[0] <= _MOST_KEYPOINTS and shape[1] in (2, 3)))
    ):
        message = "`kpt_shape` must be [number of keypoints, 2 or 3]"
        raise InputError(document.diagnose(("kpt_shape",), message))
    sigmas = document.get("kpt_oks_sigmas") or []
    if not isinstance(sigmas, list) or not all(map(_is_sigma, sigmas)):
        message = "`kpt_oks_sigmas` must be a list of numbers above 0, one for each keypoint"
        raise InputError(document.diagnose(("kpt_oks_sigmas",), message))
    if sigmas and len(sigmas) != shape[0]:
        message = f"`kpt_oks_sigmas` has {len(sigmas)} numbers for {shape[0]} keypoints"
        raise InputError(document.diagnose(("kpt_oks_sigmas",), message))
    return shape[0], shape[1], tuple(float(sigma) for sigma in sigmas)


def _is_sigma(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < float("inf")


def _read_flip(document: Document, keypoints: int) -> tuple[int, ...]:
    """Return `flip_idx`: for each keypoint the one that takes its place in a mirror image."""
    flip = document.get("flip_idx")
    if not flip or not keypoints:
        return ()
    numbers = flip if isinstance(flip, list) else []
    if not all(type(number) is int for number in numbers) or sorted(numbers) != list(
        range(keypoints)
    ):
        message = f"`flip_idx` must list each keypoint from 0 to {keypoints - 1} once"
        raise InputError(document.diagnose(("flip_idx",), message))
    return tuple(numbers)


def _find_places(
    document: Document, folder: Path, inside: Path | None
) -> tuple[str, dict[str, list[_Place]], dict[str, _Place]]:
    """Return where the splits start, the places of existing splits, and the first missing of the
    others.

    Raises InputError for a path out of `inside`, and if no split exists.
    """
    written = document.get("path")
    bases = [str(folder)]
    if written is not None and written != "" and not _OTHER_SYSTEM.match(str(written)):
        bases = [os.path.normpath(folder / str(written)), str(folder)]
    entries = _entries(document)
    found = [_resolve(base, entries) for base in bases]
    there = [(pair, base) for pair, base in zip(found, bases, strict=True) if pair[0]]
    # a copy's `path` may name the original's place; the copy is beside the file itself
    within = [found for found in there if inside is None or _is_within(inside, found[1])]
    (places, missing), base = next(iter([*within, *there]), (found[0], bases[0]))
    for split_places in places.values():
        for place in split_places:
            _demand_inside(document, place, base, folder, inside)
    if not places:
        _demand_base(document, bases[0], folder, inside)
    return base, places, missing


def _missing_images(
    document: Document, split: str, place: _Place, base: str, inside: Path | None
) -> MissingPart:
    message = f"the {split} split names {place.written}, which does not exist"
    looked = f"looked in {os.path.basename(base) or '.'}/"
    meant = _meant(place.written, base)
    hint = hint_missing(Path(os.path.join(base, meant)), meant, looked)
    if inside is not None or "\\" in place.written:
        start = os.path.relpath(base, inside or base)
        outside = check_inside(inside or Path(base), place.written, start=start, hint=WITHIN)
        message, hint = outside or (message, hint)
    diagnostic = document.diagnose(place.at, message, hint)
    return MissingPart(split=split, what="images", diagnostic=diagnostic)


def _meant(written: str, base: str) -> str:
    """Return a missing path without the leading `../` of Roboflow, unless its folder is there."""
    short = written.removeprefix("../")
    first = os.path.join(base, "..", short.split("/", maxsplit=1)[0])
    return written if os.path.exists(first) else short


def _entries(document: Document) -> dict[str, list[tuple[KeyPath, str]]]:
    """Return what each split names, and where. Raises InputError for a value that is not a path."""
    entries: dict[str, list[tuple[KeyPath, str]]] = {}
    # an empty list names no images either
    for split, key in find_splits("*", lambda key: document.get(key) not in (None, [])):
        entry = document.get(key)
        items = entry if isinstance(entry, list) else [entry]
        if isinstance(entry, dict) or not all(type(item) in (str, int) for item in items):
            message = f"`{key}` must be a folder, or a list of folders"
            raise InputError(document.diagnose((key,), message, "for example images/train"))
        at: list[KeyPath] = [(key,)]
        if isinstance(entry, list):
            at = [(key, index) for index in range(len(entry))]
        entries[split] = list(zip(at, map(str, items), strict=True))
    return entries


def _resolve(
    base: str, entries: dict[str, list[tuple[KeyPath, str]]]
) -> tuple[dict[str, list[_Place]], dict[str, _Place]]:
    """Return the splits whose places all exist below `base`; of the others, the first missing
    place.
    """
    places: dict[str, list[_Place]] = {}
    missing: dict[str, _Place] = {}
    for split, items in entries.items():
        found = []
        for at, written in items:
            path = os.path.normpath(os.path.join(base, written))
            short = written.removeprefix("../")
            if short != written and not os.path.exists(path):
                path = os.path.normpath(os.path.join(base, short))
            place = _Place(path=path, written=written, at=at)
            if not written.strip() or not os.path.exists(path):
                missing.setdefault(split, place)
            found.append(place)
        if split not in missing:
            places[split] = found
    return places, missing


def _demand_inside(
    document: Document, place: _Place, base: str, folder: Path, inside: Path | None
) -> None:
    """Raise InputError where a split leads out, at `path` if that is the reason."""
    if inside is None:
        return
    relative = os.path.relpath(place.path, inside)
    if check_inside(inside, relative) is None:
        return
    _demand_base(document, base, folder, inside)
    wrong = check_inside(inside, place.written, start=os.path.relpath(base, inside), hint=WITHIN)
    if wrong is None:  # the written path stays inside, but a link in its target does not
        wrong = check_inside(inside, relative, hint=WITHIN)
    assert wrong is not None
    raise InputError(document.diagnose(place.at, *wrong))


def _is_within(inside: Path, base: str) -> bool:
    return check_inside(inside, os.path.relpath(base, inside)) is None


def _demand_base(document: Document, base: str, folder: Path, inside: Path | None) -> None:
    """Raise InputError where `path` leads out of `inside`."""
    written = document.get("path")
    if inside is None or written in (None, "") or _OTHER_SYSTEM.match(str(written)):
        return
    relative = os.path.relpath(base, inside)
    if check_inside(inside, relative) is None:
        return
    hint = "remove it: paths are relative to this file's folder"
    start = os.path.relpath(folder, inside)
    wrong = check_inside(inside, str(written), start=start, hint=hint)
    if wrong is None:
        wrong = check_inside(inside, relative, hint=hint)
    assert wrong is not None
    raise InputError(document.diagnose(("path",), *wrong))


def _choose_root(folder: Path, base: str, places: dict[str, list[_Place]]) -> Path:
    """Return the folder that contains the whole dataset; labels are found relative to it.

    For a folder `images` with its labels beside it, that is its parent.
    """
    start = str(folder) if _is_below(base, str(folder)) else base
    paths = [place.path for found in places.values() for place in found]
    root = Path(os.path.commonpath([start, *paths]))
    if root.name == "images" and os.path.isdir(root.parent / "labels"):
        return root.parent
    return root


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == os.path.normpath(folder)


def _listed_folders(root: Path, place: str) -> list[str]:
    """Return the folders whose images a list file names, from the dataset's root."""
    if not place.lower().endswith(".txt") or not os.path.isfile(root / place):
        return []
    text, _ = read_text(root / place)  # the step that reads the list reports its problems
    found = set()
    for line in text.splitlines():
        written = line.strip()
        if written and not os.path.isabs(written):
            for start in (os.path.dirname(place), ""):
                path = os.path.normpath(os.path.join(start, os.path.dirname(written)))
                if not path.startswith("..") and os.path.isdir(root / path):
                    found.add(path)
                    break
    return sorted(found)


def _find_labelled(root: Path, split: str, paths: tuple[str, ...]) -> str:
    """Return the first image of a split that has a label; "" if none has one."""
    images = iterate_images(root, Split(name=split, paths=paths))
    files = LabelFiles(root)
    return next((image for image in images if files.is_labelled((image,))), "")


def _judge_columns(
    document: Document, folder: Path, root: Path, images: Iterable[str], names: tuple[str, ...]
) -> Diagnostic | None:
    """Return where the labels of an image are outlines, or may be keypoints; otherwise None.

    Raises InputError if they are certainly keypoints, which `kpt_shape` does not declare: no step
    accepts them. Every other mistake is found when all labels are read.
    """
    layout, outlines = Layout(classes=names, keypoints=0, dims=0), None
    files = LabelFiles(root)
    for label in (label for image in images for label in files.find(image)):
        for finding in parse(read_text(root / label)[0], label, layout)[1]:
            if finding.severity == "error" and "`kpt_shape: [" in finding.hint:
                raise InputError(_diagnose_finding(document, folder, root, finding))
            if finding.kind == OUTLINE and outlines is None:
                found = _diagnose_finding(document, folder, root, finding)
                hint = f"for outlines write `task: segment`, for four corners `task: obb`; {found.hint}"
                outlines = dataclasses.replace(found, hint=hint, severity="warning")
    return outlines


def _unlabelled(
    document: Document,
    folder: Path,
    root: Path,
    split: str,
    paths: tuple[str, ...],
    first: _Place,
) -> Diagnostic:
    """Return the diagnostic for a split without images or labels.

    `first`: the first of its places; `folder`: that of the data.yaml. A list file is marked at its
    first line that leads to no image.
    """
    given = Split(name=split, paths=paths)
    message = f"no image of the {split} split has a label: {first.written}"
    hint = "labels belong into labels/… beside images/…, or each .txt beside its image"
    image = next(iter(iterate_images(root, given)), "")
    hint = suggest_names(root, image) or hint
    if not image:
        _, findings = find_images(root, given)
        listed = [finding for finding in findings if os.path.isfile(root / finding.path)]
        listed = [finding for finding in listed if finding.path in paths]
        if listed and not listed[0].line:
            message = f"{first.written}: {listed[0].message}"
            return document.diagnose(first.at, message, listed[0].hint)
        if listed:
            return _diagnose_line(document, folder, root, listed[0])
        message = f"the {split} split has no images: {first.written}"
        hint = f"images end in {', '.join(sorted(SUFFIXES_OF_IMAGES))}"
    return document.diagnose(first.at, message, hint)


def _diagnose_line(document: Document, folder: Path, root: Path, finding: Finding) -> Diagnostic:
    """Return the diagnostic of a line in a list of images."""
    found = _diagnose_finding(document, folder, root, finding)
    lines = map(str.strip, read_text(root / finding.path)[0].splitlines())
    home = _home(document, folder, root)
    return explain_forms((found,), lines, list_files(root), os.path.normpath(home))[0]


def _diagnose_finding(document: Document, folder: Path, root: Path, finding: Finding) -> Diagnostic:
    """Return the diagnostic of a mistake in a file of the dataset."""
    home = _home(document, folder, root)
    return diagnose_one(finding, lambda path: os.path.normpath(os.path.join(home, path)))


def _home(document: Document, folder: Path, root: Path) -> str:
    """Return the dataset's root as messages name it; `folder`: that of the data.yaml."""
    return os.path.join(os.path.dirname(document.path), os.path.relpath(root, folder))
