"""Text for people: durations, sizes, counts, suggestions for words that are almost right."""

import difflib
import re
from collections.abc import Iterable, Sequence

_LONGEST_WORD = 100
_SHORTEST_PART = 4
"""Letters that say something: fewer are in half of all names."""


def duration(seconds: float) -> str:
    """3.2 s, 48 s, 2 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def size_text(count: int) -> str:
    """Bytes for people: 812 bytes, 3.4 KiB, 1.2 GiB."""
    if count < 1024:
        return f"{count} bytes"
    size = count / 1024
    for unit in ("KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def count_text(count: int, noun: str) -> str:
    """1 file, 2 files."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def first_of(names: Sequence[str], most: int) -> str:
    """The first names, and how many there are where that is not all: a, b, … (7 in all)."""
    more = f", … ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


_CURE = " Cure: "


def join_sentences(sentences: Iterable[str]) -> str:
    """Sentences of a verdict as one text; those with the same cure ("…. Cure: ….") say it once."""
    causes: dict[str, list[str]] = {}
    for sentence in sentences:
        cause, _, cure = sentence.partition(_CURE)
        causes.setdefault(cure, []).append(cause)
    texts = [_join(listed) + (_CURE + cure if cure else "") for cure, listed in causes.items()]
    return _join(texts)


def _join(texts: list[str]) -> str:
    """Sentences one behind the other; what has no full stop is a part of a sentence."""
    *others, last = texts or [""]
    return "".join(f"{text} " if text.endswith(".") else f"{text}; " for text in others) + last


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6, most: int = 12) -> str:
    """ "did you mean `x`?", or the list of what there is when it is short, or nothing.

    `cutoff`: how alike the two must be, from 0 to 1; `most`: names that are listed.
    """
    names = sorted(known)
    word = word[:_LONGEST_WORD]  # comparing takes time with the square of the length
    close = (
        [name for name in names if _plain(name) == _plain(word)]
        or difflib.get_close_matches(word, names, n=1, cutoff=cutoff)
        or _with_part(word, names)
    )
    if close:
        return f"did you mean `{close[0]}`?"
    holding = _holding(word, names)
    if len(holding) == 1:
        return f"did you mean `{holding[0]}`?"
    names = holding or names
    return "there are: " + ", ".join(names) if 0 < len(names) <= most else ""


def _plain(word: str) -> str:
    """The word without what people mix up: onnx_tf, ONNX-TF."""
    return re.sub("[-_]", "", word).lower()


def _holding(word: str, names: list[str]) -> list[str]:
    """The names of which the letters of `word` are a part: esp32, of xiao-esp32s3."""
    short = _plain(word)
    return [name for name in names if short in _plain(name)] if len(short) >= _SHORTEST_PART else []


def _with_part(word: str, names: list[str]) -> list[str]:
    """The one name of which `word`, or a word that is nearly it, is a part: grove, of grove-vision-ai-v2."""
    parts = {name: re.split("[-_]", name.lower())[:-1] for name in names}
    words = {part for of_one in parts.values() for part in of_one if len(part) >= _SHORTEST_PART}
    meant = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.8)
    found = [name for name in names if word.lower() in parts[name]] or [
        name for name in names if meant and meant[0] in parts[name]
    ]
    return found if len(found) == 1 else []
