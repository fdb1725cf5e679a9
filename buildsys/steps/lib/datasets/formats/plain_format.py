"""Read images without labels, as found by a calibration pattern."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from buildsys.steps.lib.datasets.labels import Finding, Layout
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_images


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Read a split of images without objects; see `readers`."""
    del layout
    names, findings = find_images(root, split)
    return tuple(Sample(image=name) for name in names), findings


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Yield nothing: there are no label files."""
    del root, splits, samples
    return iter(())
