"""Read datasets in Ultralytics' format: labels/**/*.txt for images/**, or next to each image; one
line per object, in shares of the image.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.file_lists import list_files
from buildsys.steps.lib.datasets.label_files import LabelFiles, describe_several, describe_stray
from buildsys.steps.lib.datasets.labels import (
    Finding,
    Layout,
    label_path,
    parse,
    read_text,
)
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_images


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Read the images of folders or lists, and the objects of their label files; see `readers`."""
    names, findings = find_images(root, split)
    samples, files = [], LabelFiles(root)
    for name in names:
        sample, wrong = read_sample(root, name, layout, files.find(name))
        samples.append(sample)
        findings += wrong
    return tuple(samples), findings


def read_sample(
    root: Path, image: str, layout: Layout, found: tuple[str, ...]
) -> tuple[Sample, tuple[Finding, ...]]:
    """Return one image with the objects of its label file, which may be missing, and findings."""
    if len(found) != 1:
        return Sample(image=image), (describe_several(found, image),) if found else ()
    labels = found[0]
    text, problem = read_text(root / labels)
    if problem:
        finding = Finding.error("broken-line", labels, problem)
        return Sample(image=image, labels=labels), (finding,)
    rows, findings = parse(text, labels, layout)
    return Sample(image=image, labels=labels, objects=tuple(rows)), findings


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Yield label files without an image, and label files that two images share."""
    groups: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.labels:
            groups[sample.labels].add(sample.image)
    for name, group in groups.items():
        first, *others = sorted(group)
        for other in others:
            yield Finding.warning(
                "shared-label", other, f"has its labels ({name}) from {first}, too"
            )
    lists = {entry for split in splits for entry in split.paths}
    folders = {str(label_path(PurePosixPath(entry))) for entry in lists}
    folders |= {os.path.dirname(name) or "." for name in groups}
    files = {name for folder in folders for name in list_files(root, folder)}
    for name in sorted(files - groups.keys() - lists):
        yield from describe_stray(name)
