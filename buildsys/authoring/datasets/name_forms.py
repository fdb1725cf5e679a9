"""Explains mistakes about images whose names are on disk in another Unicode form."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from unicodedata import normalize

from buildsys.authoring.syntax.unicode_forms import hint_form
from buildsys.errors import Diagnostic


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


def _parts(path: str) -> tuple[str, ...]:
    """Return the folders of a path, and its name with and without its ending."""
    found = PurePosixPath(path)
    return (*found.parts, found.stem)
