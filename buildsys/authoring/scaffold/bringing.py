"""Brings weights and data from outside the workspace, for `new --copy` and `new --link`.

A recipe names files inside the workspace, so that it means the same on every machine. `--copy`
copies them in. `--link` leaves them in place: weights get a symbolic link in weights/, because the
recipe pins their digest; data gets a name in buildsys.yaml, the only file with paths outside the
workspace, because no digest of the data is recorded.
"""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.authoring.datasets.coco_guess import find_counterpart
from buildsys.authoring.recipes.loader import Loader, Unwritten
from buildsys.authoring.scaffold.given_paths import whole
from buildsys.authoring.syntax.document import Document, parse_document
from buildsys.authoring.syntax.scalars import scalar
from buildsys.authoring.workspace import FILE, WorkspaceFile, read_workspace_file
from buildsys.digest import digest_file
from buildsys.errors import InputError
from buildsys.files import refuse_links, remove_folder
from buildsys.lockfile import Lock
from buildsys.steps.lib.datasets.file_lists import list_parts
from buildsys.steps.lib.images.decoding import UNREAD_SUFFIXES, is_image

_WEIGHTS, _DATA = "weights", "data"
_READ = (".txt", ".xml", ".json", ".yaml", ".yml", ".data", ".names", ".labels", *UNREAD_SUFFIXES)
"""Endings of files that a reader of some format opens beside images, or reports."""


def bring_weights(root: Path, given: str, link: bool, undo: ExitStack) -> tuple[str, str]:
    """Copy or link an outside file into weights/.

    Returns its path from the workspace, and a report line. Nothing is overwritten: an equal file of
    that name is used. `undo` removes what was written. Raises InputError.
    """
    source = whole(root, given)
    place = root / _WEIGHTS / source.name
    name = f"{_WEIGHTS}/{source.name}"
    if os.path.exists(place) and digest_file(place) == digest_file(source):
        is_copy = link and not os.path.islink(place)
        return name, f"kept   {name}, {'a copy of' if is_copy else 'the same as'} {source}"
    if os.path.exists(place) or os.path.islink(place):
        message = f"{name} exists with other content: nothing was overwritten"
        raise InputError.at(given, message, "rename one of them")
    refuse_links(root, place.parent)
    with _writing(given, name):
        _make_folder(place.parent, undo)
        unfinished = _unfinished(place)
        undo.callback(unfinished.unlink, missing_ok=True)
        if link:
            unfinished.symlink_to(source)
        else:
            shutil.copyfile(source, unfinished)
        undo.callback(place.unlink, missing_ok=True)
        unfinished.rename(place)
    return name, f"{'linked' if link else 'copied'} {name}, from {source}"


@dataclass(frozen=True, kw_only=True)
class OutsideData:
    """The files of a dataset as absolute paths, and the path that was given.

    `left_out`: links that lead out of the data; a copy omits them.
    """

    given: Path
    parts: tuple[Path, ...]
    left_out: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Return the smallest folder that contains all of it."""
        own = self.given if os.path.isdir(self.given) else self.given.parent
        return Path(os.path.commonpath([own, *self.parts]))


def find_outside(root: Path, datasets: Path, given: Path, unwritten: Unwritten) -> OutsideData:
    """Return the files of a dataset that an unwritten recipe names, by the rules of every build.

    With COCO's `instances` they include `person_keypoints`, for another recipe; and the other way
    round. `datasets`: where archives are unpacked. Raises InputError with the recipe's mistakes.
    """
    loader = Loader(root, Lock(), datasets, unwritten)
    (path,) = unwritten.recipes
    loaded = loader.recipe(path)
    if not loaded.builds or loaded.builds[0].dataset is None:
        raise InputError(*(found for found in loaded.diagnostics if found.is_error))
    build = loaded.builds[0]
    assert build.dataset is not None
    home = build.split[0] if build.split is not None else build.dataset.root
    pairs = (find_counterpart(Path(home, part)) for part in build.dataset_parts)
    others = (os.path.relpath(path, home) for path in pairs if path is not None)
    return choose_files(given, home, (*build.dataset_parts, *others))


def choose_files(given: Path, home: str, parts: tuple[str, ...]) -> OutsideData:
    """Return what a copy needs of a dataset's parts below `home`.

    That is named files, and in folders the files that a reader opens; links only if they lead to
    the data.
    """
    own = given if os.path.isdir(given) else given.parent
    listing = list_parts(home, parts, os.path.commonpath([home, own]))
    names = [name for name, _ in listing.files if name in parts or _is_read(name)]
    return OutsideData(
        given=given,
        parts=tuple(Path(os.path.normpath(os.path.join(home, name))) for name in names),
        left_out=tuple(name for kind, name in listing.faults if kind == "outside"),
    )


def _is_read(name: str) -> bool:
    return is_image(PurePosixPath(name)) or name.lower().endswith(_READ)


def copy_data(root: Path, data: OutsideData, undo: ExitStack) -> str:
    """Copy the dataset's files below data/FOLDER.

    Returns the path of the given file from the workspace. A link becomes its target file. Raises
    InputError if data/FOLDER exists.
    """
    place = root / _DATA / data.folder.name
    name = f"{_DATA}/{data.folder.name}"
    inside = data.given.relative_to(data.folder).as_posix()
    if os.path.exists(place) or os.path.islink(place):
        message = f"{name} exists: nothing was overwritten"
        same = shlex.quote(os.path.normpath(f"{name}/{inside}"))
        hint = f"if it is the same data, give --data {same}"
        if not os.path.exists(place / inside):
            hint = (
                f"copy what is missing there, and give --data {same}; or rename one of the folders"
            )
            message = f"{name} exists without {inside}: nothing was copied"
        raise InputError.at(str(data.given), message, hint)
    refuse_links(root, place.parent)
    with _writing(str(data.given), name):
        _make_folder(place.parent, undo)
        unfinished = _unfinished(place)
        undo.callback(shutil.rmtree, unfinished, ignore_errors=True)
        for part in data.parts:
            target = unfinished / part.relative_to(data.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(part, target)
        undo.callback(remove_folder, place)
        unfinished.rename(place)
    return os.path.normpath(f"{name}/{inside}")


def name_data(root: Path, name: str, block: object) -> tuple[str, str]:
    """Return a dataset's name in buildsys.yaml, and that file's text with its line added.

    `block`: a recipe's `dataset` with absolute paths. Data that has a name keeps it. Raises
    InputError where the text cannot take a further line.
    """
    file, document = read_workspace_file(root)
    for known, written in file.datasets.items():
        if written == block:
            return known, (root / FILE).read_text(encoding="utf-8")
    return name, _add_line(root, name, f"{name}: {_flow(block)}", file, document)


def _add_line(
    root: Path, name: str, entry: str, file: WorkspaceFile, document: Document | None
) -> str:
    if name in file.datasets:
        message = f"buildsys.yaml names another dataset `{name}`"
        raise InputError.at(FILE, message, "choose another name for the recipe")
    if document is None or document.data is None:
        old = (root / FILE).read_text(encoding="utf-8") if document is not None else ""
        gap = "\n" if old and not old.endswith("\n") else ""
        return f"{old}{gap}datasets:\n  {entry}\n"
    lines = list(document.lines)
    first = next(iter(file.datasets), None)
    if first is None and ("datasets",) not in document.keys:
        text = "\n".join([*lines, "datasets:", f"  {entry}"])
    elif first is None:
        raise _refuse_line(document.keys[("datasets",)].line, entry)
    else:
        mark, key = document.keys[("datasets", first)], document.keys[("datasets",)]
        if mark.line == key.line:
            raise _refuse_line(key.line, entry)
        text = "\n".join(
            [*lines[: mark.line - 1], " " * (mark.column - 1) + entry, *lines[mark.line - 1 :]]
        )
    text = text.rstrip("\n") + "\n"
    try:
        parse_document(text, FILE)
    except InputError:
        raise _refuse_line(1, entry) from None
    return text


def _refuse_line(line: int, entry: str) -> InputError:
    message = "the dataset cannot be added to this file"
    return InputError.at(FILE, message, f"write below `datasets:` {entry}", line=line, column=1)


def _flow(value: object) -> str:
    """Return a value of a block on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return scalar(value) if isinstance(value, str) else str(value).lower()


def _unfinished(place: Path) -> Path:
    return place.with_name(f".tmp-{os.urandom(8).hex()}")


def _make_folder(folder: Path, undo: ExitStack) -> None:
    if not os.path.isdir(folder):
        undo.callback(_remove_empty, folder)
        folder.mkdir()


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _writing(given: str, name: str) -> Iterator[None]:
    """Turn errors of the disk into InputError about the request."""
    try:
        yield
    except (OSError, shutil.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InputError.at(given, f"cannot be brought to {name}: {why}") from error
