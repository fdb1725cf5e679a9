"""Find the label file of each image in a user's dataset, whatever the case of its name."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.labels import Finding, label_file, read_text
from buildsys.steps.lib.images.decoding import SUFFIXES

_OTHER_TEXTS = frozenset(
    f"{name}.txt"
    for name in (
        *("classes", "labels", "notes", "predefined_classes"),
        *("train", "val", "valid", "test", "trainval"),
    )
)
"""Text files that labelling tools write beside label files, in lower case."""


class LabelFiles:
    """The label files of the dataset at `root`; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, dict[str, list[str]]] = {}

    def find(self, image: str) -> tuple[str, ...]:
        """Return the label file of an image: labels/**.txt for images/**, otherwise the .txt file
        next to the image. All paths are relative to the root.

        Only where no file has the image's exact name, its case is ignored, as on Windows and macOS;
        there may be several such files. () if there is none.
        """
        path = PurePosixPath(image)
        for place in dict.fromkeys((label_file(path), path.with_suffix(".txt"))):
            folder = str(place.parent)
            found = self._list(folder).get(place.name.casefold(), [])
            exact = [name for name in found if PurePosixPath(name).stem == path.stem]
            if not exact:
                exact = [name for name in found if not self._has_image(path, name)]
            elif len(exact) > 1:
                exact = [name for name in exact if name == place.name] or exact
            if exact:
                return tuple(str(place.parent / name) for name in exact)
        return ()

    def is_labelled(self, images: Iterable[str]) -> bool:
        """Return whether the label file of any of these images holds more than blanks."""
        labels = (label for image in images for label in self.find(image))
        texts = (read_text(self.root / label) for label in labels)
        return any(text.strip() or problem for text, problem in texts)

    def _has_image(self, image: PurePosixPath, label: str) -> bool:
        """Return whether a label file has the exact name of another image of the folder."""
        stem = PurePosixPath(label).stem
        names = self._list(str(image.parent))
        found = (name for end in SUFFIXES for name in names.get(f"{stem}{end}".casefold(), []))
        return any(PurePosixPath(name).stem == stem for name in found)

    def _list(self, folder: str) -> dict[str, list[str]]:
        """Return the names of a folder's files, by the name in lower case."""
        if folder not in self._folders:
            names: dict[str, list[str]] = {}
            try:
                entries = os.scandir(self.root / folder)
                found = sorted(entry.name for entry in entries if entry.is_file())
            except OSError:
                found = []
            for name in found:
                names.setdefault(name.casefold(), []).append(name)
            self._folders[folder] = names
        return self._folders[folder]


def describe_stray(path: str) -> Iterator[Finding]:
    """Yield a warning for a file that no image uses, if its name is that of a label file."""
    name = PurePosixPath(path).name.lower()
    if name.endswith(".txt") and name not in _OTHER_TEXTS:
        yield Finding.warning("stray-label", path, "a label file without its image")


def describe_several(labels: tuple[str, ...], image: str) -> Finding:
    """Return the finding for an image whose label file is not certain."""
    message = f"has {len(labels)} label files: {', '.join(labels)}"
    hint = f"keep one, called {PurePosixPath(labels[0]).with_name(PurePosixPath(image).stem)}.txt"
    return Finding.error("shared-label", image, message, hint)
