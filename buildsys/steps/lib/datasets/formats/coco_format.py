"""Read datasets in COCO format: one JSON file with all labels of a split, boxes and points in
pixels.

We read it ourselves, because no library keeps everything: Ultralytics' `convert_coco` uses the id
minus one as the class and omits files of empty images and empty boxes, supervision drops categories
whose `supercategory` is none, globox drops the folders in a `file_name`; none of them reports
mistakes.
"""

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.datasets.formats.coco_file import AnnotationFile
from buildsys.steps.lib.datasets.formats.coco_splits import CocoSplit, read_file
from buildsys.steps.lib.datasets.labels import Finding, Layout, mistake
from buildsys.steps.lib.datasets.pixel_boxes import show
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split

NAMES = {False: "coco", True: "coco-base-name"}
"""Keys in `readers.FORMATS`, by `CocoFormat.base_names`."""


@dataclass(frozen=True, kw_only=True)
class CocoFormat:
    """Implements `readers.DatasetFormat`; a split's paths are its image folder and its annotation
    file.

    `base_names`: whether images are found by their names alone, anywhere in the folder.
    """

    base_names: bool

    def read_split(
        self, root: Path, split: Split, layout: Layout
    ) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
        """Read the images of an annotation file; crowd annotations are omitted, with a warning."""
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
                ids=ids,
            )
            for image, objects, ids in zip(
                content.images, content.objects, content.ids, strict=True
            )
        ]
        samples.sort(key=lambda sample: sample.image)
        return tuple(samples), tuple(_describe_left_out(content, file))

    def find_strays(
        self, root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
    ) -> Iterator[Finding]:
        """Yield nothing: there are no label files besides the annotation files."""
        del root, splits, samples
        return iter(())


def _compare(content: AnnotationFile, layout: Layout) -> str:
    """Return how the categories differ from the dataset's classes; "" if they do not."""
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


def _describe_left_out(content: AnnotationFile, file: str) -> Iterator[Finding]:
    """Yield which parts of a file are not used."""
    if content.crowds:
        message = f"annotations of crowds (`iscrowd: 1`) are left out: {content.crowds}"
        yield Finding.warning("crowd", file, message)
    if content.apart:
        number = len(content.apart)
        message = f"{number} `bbox`" if number > 1 else "a `bbox`"
        message += f" not around the `segmentation`, which counts; the first: {content.apart[0]}"
        yield Finding.warning("apart", file, message)
