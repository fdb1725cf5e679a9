"""Count what a dataset contains, image by image, keeping only figures in memory."""

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from buildsys.steps.lib.datasets.labels import Finding, Layout, Object
from buildsys.steps.lib.datasets.samples import Sample

SMALL = 8
"""Side of one cell of the finest grid, in pixels of the network's input; boxes with a shorter side
count as small.
"""


@dataclass(kw_only=True)
class Tally:
    """The counts of one split so far. `frames`: (height, width) of the network's inputs."""

    name: str
    layout: Layout
    frames: tuple[tuple[int, int], ...]
    pictures: int = 0
    unreadable: int = 0
    without_file: int = 0
    empty_file: int = 0
    classes: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    sides: list[list[float]] = field(default_factory=list)
    seen: dict[str, int] = field(
        default_factory=lambda: {"visible": 0, "hidden": 0, "not labelled": 0}
    )

    def __post_init__(self) -> None:
        """Create one count per class and one list per frame."""
        self.classes = [0] * len(self.layout.classes)
        self.sides = [[] for _ in self.frames]

    def add_sample(self, sample: Sample, size: tuple[int, int] | None, empty: bool) -> None:
        """Count an image of `size` (width, height), None if it cannot be read. `empty`: its label
        file is empty.
        """
        self.pictures += 1
        if size is None:
            self.unreadable += 1
        else:
            self.sizes.append(size)
        self.without_file += not sample.labels
        self.empty_file += bool(sample.labels) and empty
        for _, item in sample.objects:
            self.add_object(item, size)

    def add_object(self, item: Object, size: tuple[int, int] | None) -> None:
        """Count an object of an image of `size` (width, height)."""
        self.classes[item.category] += 1
        for *_, visibility in item.keypoints:
            word = {0.0: "not labelled", 1.0: "hidden"}.get(visibility, "visible")
            self.seen[word] += 1
        if size is None or min(item.box[2:]) <= 0:
            return
        for (height, width), sides in zip(self.frames, self.sides, strict=True):
            scale = min(height / size[1], width / size[0])
            sides.append(min(item.box[2] * size[0], item.box[3] * size[1]) * scale)

    def facts(self) -> dict[str, Any]:
        """Return the split's figures for report.json."""
        facts: dict[str, Any] = {
            "name": self.name,
            "pictures": self.pictures,
            "objects": sum(self.classes),
            "classes": dict(zip(self.layout.classes, self.classes, strict=True)),
            "without_label_file": self.without_file,
            "empty_label_file": self.empty_file,
            "unreadable": self.unreadable,
        }
        if self.sizes:
            order = sorted(self.sizes, key=lambda size: (size[0] * size[1], size))
            picks = {"smallest": 0, "median": len(order) // 2, "largest": -1}
            facts["sizes"] = {name: list(order[index]) for name, index in picks.items()}
        facts["at_input"] = [
            {
                "input": list(frame),
                "objects": len(sides),
                "under_8_px": sum(side < SMALL for side in sides),
                "median_px": round(statistics.median(sides), 1),
            }
            for frame, sides in zip(self.frames, self.sides, strict=True)
            if sides
        ]
        if self.layout.keypoints:
            facts["keypoints"] = self.seen
        return facts


def find_copies(digests: dict[str, list[tuple[str, str]]]) -> Iterator[Finding]:
    """Yield images with the same bytes. `digests`: digest -> (split, image), in order."""
    for group in digests.values():
        (first_split, first), *others = group
        for split, name in others:
            same = f"the same bytes as {first}" if name != first else "this very file"
            if split == first_split:
                yield Finding.warning("duplicate", name, f"{same}, in the same split ({split})")
            else:
                message = f"{same}, which is in the {first_split} split too: a leak"
                if name != first:
                    message = f"{same}: a leak from {first_split} into {split}"
                hint = f"what is measured on {split} is partly what {first_split} has shown"
                yield Finding.warning("leak", name, message, hint)


def find_alike(classes: Iterable[str]) -> Iterator[Finding]:
    """Yield classes whose names differ only in upper and lower case, which are likely one class."""
    groups: dict[str, list[str]] = {}
    for name in classes:
        groups.setdefault(name.casefold(), []).append(name)
    for names in groups.values():
        if len(names) > 1:
            message = f"classes {', '.join(names)} differ only in upper and lower case"
            hint = "if they are one class, give it one name in the labels and the list of classes"
            yield Finding.warning("class-alike", "", message, hint)


def find_gaps(tallies: list[Tally]) -> Iterator[Finding]:
    """Yield classes that do not occur in a labelled split."""
    for tally in tallies:
        if not any(tally.classes):
            continue
        for name, count in zip(tally.layout.classes, tally.classes, strict=True):
            if not count:
                yield Finding.warning("class-missing", "", f"no {name} in the {tally.name} split")
