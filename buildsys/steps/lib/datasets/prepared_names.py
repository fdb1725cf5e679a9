"""Choose the names of prepared images, which every machine, the store and every trainer accept.

The source's own names are kept as far as possible. They may come from any file system: two that
differ only in case or in the normal form of Unicode would be one file elsewhere.
"""

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

_REPLACED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\\\\]|^\\.+|(?<=^[A-Za-z]):")
"""Control characters, text that is not UTF-8, backslashes, leading dots (hidden: no trainer lists
such files), and the colon of a drive letter.
"""
_MOST_BYTES = 200
"""Of one part of a name in UTF-8: file systems allow 255, and endings are added."""


def choose_stems(names: Sequence[str], left_out: str = "images", kept: int = 0) -> tuple[str, ...]:
    """Return the path of each image of a split, below the split's folder and without an ending.

    `names`: paths below the source folder. Labels are found by the name without its ending, so that
    one of a.jpg and a.png gets a longer name. Folders named `left_out` are dropped, because the
    last `images` in a path decides where a trainer looks for labels. The first `kept` folders of
    each name stay as they are: they are names of classes.
    """
    folders = _Folders()
    stems = []
    for name in names:
        path = PurePosixPath(name)
        parts = path.parent.parts
        first = "".join(f"{part}/" for part in parts[:kept])
        below = [_clean(part) for part in parts[kept:] if part != left_out]
        stems.append(f"{folders.spell(first, below)}{_clean(path.stem)}")
    known = {_fold(stem) for stem in stems}
    taken: set[str] = set()
    chosen = []
    for name, stem in zip(names, stems, strict=True):
        mine = stem
        while _fold(mine) in taken or (mine != stem and _fold(mine) in known):
            mine = f"{mine}-{PurePosixPath(name).suffix[1:]}"
        taken.add(_fold(mine))
        chosen.append(mine)
    return tuple(chosen)


class _Folders:
    """The first spelling of every folder, which all others get."""

    def __init__(self) -> None:
        self._spellings: dict[str, str] = {}

    def spell(self, path: str, parts: Sequence[str]) -> str:
        """Return the path of a folder below `path`; each ends with a slash, or is empty."""
        for part in parts:
            path = self._spellings.setdefault(_fold(f"{path}{part}/"), f"{path}{part}/")
        return path


def _clean(part: str) -> str:
    """Return one part of a name without what some machine refuses, and not too long."""
    part = _REPLACED.sub("-", part)
    return (
        part.encode()[:_MOST_BYTES].decode(errors="ignore") if len(part) * 4 > _MOST_BYTES else part
    )


def _fold(name: str) -> str:
    """Return a text that is equal for names which some file system takes for the same."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
