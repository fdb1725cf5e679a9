"""COCO's format: one JSON file for all labels of a split, boxes and points in pixels.

Own code, because no library keeps it all: Ultralytics' `convert_coco` takes the id less one for the
class and leaves out empty images' files and boxes without extent, supervision drops categories whose
`supercategory` is none, globox the folders in a `file_name`; none of them names a mistake.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.datasets.coco_file import AnnotationFile
from buildsys.steps.lib.datasets.coco_splits import CocoSplit, read_file
from buildsys.steps.lib.datasets.labels import Finding, Layout, mistake
from buildsys.steps.lib.datasets.pixel_boxes import show
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split

NAMES = {False: "coco", True: "coco-base-name"}
"""The keys in `formats.FORMATS`, by `CocoFormat.base_names`."""


@dataclass(frozen=True, kw_only=True)
class CocoFormat:
    """See `formats.DatasetFormat`; a split's places are its folder of images and its annotation file.

    `base_names`: whether an image is the file of its name anywhere in the folder.
    """

    base_names: bool

    def read_split(
        self, root: Path, split: Split, layout: Layout
    ) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
        """The images of an annotation file. Annotations of crowds are left out, with a warning."""
        images, file = split.paths
        own = CocoSplit(
            name=split.name, annotations=file, images=images, base_names=self.base_names
        )
        shape = "keypoints" if layout.keypoints else layout.shape
        content, wrong = read_file(root, own, shape, file, images)
        if content is None or wrong:
            return (), tuple(wrong)
        problem = _compare(content, layout)
        if problem:
            return (), (mistake(file, problem, "every split declares the same categories"),)
        samples = [
            Sample(
                image=posixpath.normpath(f"{images}/{image.name}"),
                objects=tuple((0, item) for item in objects),
                labels=file,
                size=image.size,
            )
            for image, objects in zip(content.images, content.objects, strict=True)
        ]
        samples.sort(key=lambda sample: sample.image)
        return tuple(samples), tuple(_describe_crowds(content, file))

    def find_strays(
        self, root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
    ) -> Iterator[Finding]:
        """There are no label files beside the annotation files."""
        del root, splits, samples
        return iter(())


def _compare(content: AnnotationFile, layout: Layout) -> str:
    """How the categories differ from the dataset's classes: one index would mean two things."""
    names = content.layout.names
    if len(names) != len(layout.classes):
        return f"has {len(names)} categories, and the dataset has {len(layout.classes)}"
    for (number, name), wanted in zip(content.layout.categories, layout.classes, strict=True):
        if name != wanted:
            return f"category {number} is {show(name)} here, and {show(wanted)} in the dataset"
    points = len(content.layout.keypoints)
    if points != layout.keypoints:
        return f"has {points} keypoints, and the dataset has {layout.keypoints}"
    return ""


def _describe_crowds(content: AnnotationFile, file: str) -> Iterator[Finding]:
    if content.crowds:
        message = f"annotations of crowds (`iscrowd: 1`) are left out: {content.crowds}"
        yield Finding(kind="crowd", severity="warning", path=file, message=message)
