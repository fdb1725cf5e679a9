"""Text for people: durations, sizes, counts, suggestions for misspelt words."""

import difflib
import re
from collections.abc import Iterable, Sequence

_LONGEST_WORD = 100
_SHORTEST_PART = 4
"""Letters that identify a word: fewer occur in half of all names."""


def duration(seconds: float) -> str:
    """Return 3.2 s, 48 s, 2 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def size_text(count: int) -> str:
    """Return a number of bytes for people: 812 bytes, 3.4 KiB, 1.2 GiB."""
    if count < 1024:
        return f"{count} bytes"
    size = count / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """Return 1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first names, and the number of all if there are more: a, b, … (7 in all)."""
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


_MOST_CLASSES = 5


def describe_unmeasured(split: str, classes: Sequence[str]) -> str:
    """Return that a split has no objects of some classes, and what follows."""
    these = "this class" if len(classes) == 1 else "these classes"
    listed = first_of(classes, _MOST_CLASSES)
    return f"the {split} split has no objects of {listed}: the accuracy of {these} is not measured"


_CURE = " Cure: "


def join_sentences(sentences: Iterable[str]) -> str:
    """Return a verdict's sentences as one text; a cure ("…. Cure: ….") of several is written
    once.
    """
    causes: dict[str, list[str]] = {}
    for sentence in sentences:
        cause, _, cure = sentence.partition(_CURE)
        causes.setdefault(cure, []).append(cause)
    texts = [_join(listed) + (_CURE + cure if cure else "") for cure, listed in causes.items()]
    return _join(texts)


def _join(texts: list[str]) -> str:
    """Join sentences; a text without a full stop is a part of a sentence."""
    *others, last = texts or [""]
    return "".join(f"{text} " if text.endswith(".") else f"{text}; " for text in others) + last


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6, most: int = 12) -> str:
    """Return "did you mean `x`?", or the list of known words if it is short, or nothing.

    `cutoff`: how similar the two must be, from 0 to 1; `most`: names that are listed.
    """
    names = sorted(known)
    near = nearest(word, names, cutoff)
    if near is not None:
        return f"did you mean `{near}`?"
    names = _holding(word, names) or names
    return "there are: " + ", ".join(names) if 0 < len(names) <= most else ""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that was probably meant, if there is one; `cutoff`: see
    `did_you_mean`.
    """
    names = sorted(known)
    word = word[:_LONGEST_WORD]  # the time of comparing grows with the square of the length
    close = (
        [name for name in names if _plain(name) == _plain(word)]
        or difflib.get_close_matches(word, names, n=1, cutoff=cutoff)
        or _with_part(word, names)
    )
    if close:
        return close[0]
    holding = _holding(word, names)
    return holding[0] if len(holding) == 1 else None


def _plain(word: str) -> str:
    """Return the word without differences that people confuse: onnx_tf, ONNX-TF."""
    return re.sub("[-_]", "", word).lower()


def _holding(word: str, names: list[str]) -> list[str]:
    """Return the names that contain the letters of `word`: esp32, in xiao-esp32s3."""
    short = _plain(word[:_LONGEST_WORD])
    return [name for name in names if short in _plain(name)] if len(short) >= _SHORTEST_PART else []


def _with_part(word: str, names: list[str]) -> list[str]:
    """Return the one name with `word`, or a similar word, as a part: grove, in
    grove-vision-ai-v2.
    """
    parts = {name: re.split("[-_]", name.lower())[:-1] for name in names}
    words = {part for of_one in parts.values() for part in of_one if len(part) >= _SHORTEST_PART}
    meant = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.8)
    found = [name for name in names if word.lower() in parts[name]] or [
        name for name in names if meant and meant[0] in parts[name]
    ]
    return found if len(found) == 1 else []
