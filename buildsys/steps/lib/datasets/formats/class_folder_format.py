"""Read folders of classes: <folder of a split>/<class>/**; the folder names are the classes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from buildsys.steps.lib.datasets.labels import Finding, Layout, Object
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_class, find_images

_WHOLE = (0.5, 0.5, 1.0, 1.0)


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Read a split; each whole image is one object of its folder's class. See `readers`."""
    names, findings = find_images(root, split)
    samples, wrong = [], []
    for name in names:
        found = find_class(name, split, layout.classes)
        if isinstance(found, Finding):
            wrong.append(found)
            samples.append(Sample(image=name))
            continue
        item = Object(category=found, box=_WHOLE, keypoints=())
        samples.append(Sample(image=name, objects=((0, item),)))
    return tuple(samples), (*findings, *wrong)


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Yield nothing: this format has no label files."""
    del root, splits, samples
    return iter(())
