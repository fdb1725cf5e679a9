"""Finds and explains names of images that are on disk in another Unicode form."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Literal
from unicodedata import is_normalized, normalize

from buildsys.authoring.syntax.unicode_forms import hint_form
from buildsys.errors import Diagnostic
from buildsys.steps.lib.datasets.labels import label_file
from buildsys.steps.lib.images.decoding import is_image

_FORMS: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")


def explain_forms(
    diagnostics: Sequence[Diagnostic], written: Iterable[str], present: Iterable[str], folder: str
) -> tuple[Diagnostic, ...]:
    """Return the diagnostics, with a hint at those about a name that is there in another form.

    `written`: the names in the dataset's files, which messages quote; `present`: paths on disk, in
    `folder`, as messages name it.
    """
    odd = [name for name in written if not name.isascii()]
    if not odd:
        return tuple(diagnostics)
    parts = {part for path in present for part in _parts(path)}
    forms = {normalize("NFC", part) for part in parts}
    other = [
        name
        for name in odd
        if any(part not in parts and normalize("NFC", part) in forms for part in _parts(name))
    ]
    found = []
    for diagnostic in diagnostics:
        name = next((name for name in other if name in diagnostic.message), "")
        hint = hint_form(name, folder, below=True) if name else diagnostic.hint
        found.append(dataclasses.replace(diagnostic, hint=hint))
    return tuple(found)


def find_lost_labels(names: Sequence[str], folder: str) -> Iterator[tuple[str, str]]:
    """Yield the problem, and what to do, if label files have the names of images in another form.

    Such an image would count as one without objects. `names`: the files of a dataset, from its
    root; `folder`: the root, for a shell.
    """
    odd = [name for name in names if not name.isascii()]
    if any(all(is_normalized(form, name) for name in odd) for form in _FORMS):  # most datasets
        return
    present = {name for name in odd if name.lower().endswith(".txt")}
    forms = {_label_key(name) for name in present}
    lost = []
    for image in (PurePosixPath(name) for name in odd):
        own = (label_file(image), image.with_suffix(".txt")) if is_image(image) else ()
        written = {str(path.with_suffix(end)) for path in own for end in (".txt", ".TXT")}
        if written.isdisjoint(present) and any(_label_key(str(path)) in forms for path in own):
            lost.append(str(image))
    if lost:
        more = f", nor of {len(lost) - 1} other images" if len(lost) > 2 else ""
        more = ", nor of one other image" if len(lost) == 2 else more
        yield (
            f"no label file has the name of {lost[0]}{more}",
            hint_form(lost[0], folder, below=True),
        )


def _label_key(path: str) -> str:
    """Return the same text for label files whose names look alike."""
    return normalize("NFC", path.removesuffix(".TXT").removesuffix(".txt"))


def _parts(path: str) -> tuple[str, ...]:
    """Return the folders of a path, and its name with and without its ending."""
    found = PurePosixPath(path)
    return (*found.parts, found.stem)
