"""Names of dataset splits in descriptions, folders, lists and annotation files."""

from collections.abc import Callable, Iterator

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Our name of each split, and its common names; the first that exists is used."""


def spellings(split: str) -> tuple[str, ...]:
    """Return the names of a split as people write them: val, valid, validation, Val, VAL, ..."""
    forms = (str.lower, str.capitalize, str.upper)
    return tuple(form(word) for form in forms for word in SPLITS[split])


def find_splits(place: str, exists: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield each existing split with its path: `place`, in which `*` stands for the split's name."""
    for split, words in SPLITS.items():
        paths = (place.replace("*", word) for word in words)
        found = next((path for path in paths if exists(path)), "")
        if found:
            yield split, found
