"""Dataset formats: the common way to read them all, and how to add a format.

Every format is read into the same two things: the samples of each split, and findings.
`inspect_dataset` reports the findings, and `prepare_dataset` writes the samples in our own layout
(`prepared`); no other step reads the user's files.

To add a format:

1. A module `<name>_format.py` in `formats` with `read_split` and `find_strays` as `DatasetFormat`
   describes them, and its line in `FORMATS`. It imports only the standard library and never raises
   because of a file's content: a wrong line is a `Finding` with its file and line, and the other
   lines are still read.
2. In `authoring/datasets`, a reader that makes `DatasetFacts` of what the recipe's `dataset` block
   names: class names, `given` (each split and its places: what `Split.paths` will be, relative to
   `root`), and `format`, the key in `FORMATS`; `facts.prepare_splits` fills in the rest. It opens no
   image and reads no more labels than it needs. Its `parts` are the files and folders that
   `read_split` opens: they are the step's input and its digest.

Nothing else changes: the planner puts `prepare_dataset` before every step that needs a dataset.
Coordinates of objects are shares of the image's width and height, as they are written:
`placed_objects` clips them, and judges them for every format. A format with labels in pixels
takes the image size from the labels and states it as `Sample.size`; an image of another size is a
finding.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from buildsys.steps.lib.datasets.formats import (
    class_folder_format,
    coco_format,
    darknet_format,
    plain_format,
    ultralytics_format,
    voc_format,
)
from buildsys.steps.lib.datasets.labels import OUTLINE, Finding, Layout
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split


class DatasetFormat(Protocol):
    """The interface of a format: a module, or an object with settings."""

    def read_split(
        self, root: Path, split: Split, layout: Layout
    ) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
        """Return the images of a split, sorted by path, each once, and findings about lists and
        labels.

        An image without labels is a sample without objects. `layout` has the class names and, for
        pose, the keypoints that `DatasetFacts` declared.
        """

    def find_strays(
        self, root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
    ) -> Iterator[Finding]:
        """Yield a warning for each label file that belongs to no sample."""


FORMATS: Mapping[str, DatasetFormat] = {
    "ultralytics": ultralytics_format,
    "folders": class_folder_format,
    "voc": voc_format,
    "darknet": darknet_format,
    "images": plain_format,
    **{name: coco_format.CocoFormat(base_names=key) for key, name in coco_format.NAMES.items()},
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The content of a dataset: samples by split, in the order of the splits, and findings."""

    splits: tuple[tuple[str, tuple[Sample, ...]], ...]
    findings: tuple[Finding, ...]

    @property
    def samples(self) -> list[Sample]:
        """Return the samples of all splits."""
        return [sample for _, found in self.splits for sample in found]


def read(root: Path, name: str, splits: tuple[Split, ...], layout: Layout) -> Reading:
    """Read all splits of a dataset in the format `name`; images are not opened."""
    reader, chosen = FORMATS[name], []
    findings: list[Finding] = []
    for split in splits:
        samples, wrong = reader.read_split(root, split, layout)
        findings += wrong
        chosen.append((split.name, samples))
    every = [sample for _, samples in chosen for sample in samples]
    findings += reader.find_strays(root, splits, every)
    outlines = [finding for finding in findings if finding.kind == OUTLINE]
    findings = [finding for finding in findings if finding.kind != OUTLINE] + outlines[:1]
    return Reading(splits=tuple(chosen), findings=tuple(findings))
