"""How people call the splits of a dataset: keys of a description, folders, lists, annotation files."""

from collections.abc import Callable, Iterator

SPLITS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Our name of each split, and what it is called elsewhere; the first that is there counts."""


def find_splits(place: str, exists: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Each split that is there, with its path: `place`, in which `*` is what it is called."""
    for split, words in SPLITS.items():
        paths = (place.replace("*", word) for word in words)
        found = next((path for path in paths if exists(path)), "")
        if found:
            yield split, found
