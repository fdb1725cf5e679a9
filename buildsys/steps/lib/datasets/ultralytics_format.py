"""Ultralytics' format: labels/**/*.txt beside images/**, one line an object, shares of the image."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.labels import (
    Finding,
    Layout,
    decode_text,
    label_file,
    label_path,
    parse,
)
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split, find_images

_NOT_LABELS = frozenset({"classes.txt", "labels.txt", "obj.names", "notes.txt", "train.txt"})
"""What labelling tools leave beside the labels."""


def read_split(
    root: Path, split: Split, layout: Layout
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """The images of folders or lists, and the objects of their label files; see `formats`."""
    names, findings = find_images(root, split)
    samples = []
    for name in names:
        sample, wrong = read_sample(root, name, layout, str(label_file(PurePosixPath(name))))
        samples.append(sample)
        findings += wrong
    return tuple(samples), findings


def read_sample(
    root: Path, image: str, layout: Layout, labels: str
) -> tuple[Sample, tuple[Finding, ...]]:
    """One image and what its label file says, which need not be there; what is wrong with it."""
    path = root / labels
    if not labels or not path.is_file():
        return Sample(image=image), ()
    text, problem = decode_text(path.read_bytes())
    if problem:
        finding = Finding(kind="broken-line", severity="error", path=labels, message=problem)
        return Sample(image=image, labels=labels), (finding,)
    rows, findings = parse(text, labels, layout)
    return Sample(image=image, labels=labels, objects=tuple(rows)), findings


def find_strays(
    root: Path, splits: tuple[Split, ...], samples: Iterable[Sample]
) -> Iterator[Finding]:
    """Label files without their image, and files that two images share."""
    every = [sample.image for sample in samples]
    wanted = {str(label_file(PurePosixPath(image))) for image in every}
    groups: dict[str, list[str]] = defaultdict(list)
    for image in dict.fromkeys(every):
        groups[str(label_file(PurePosixPath(image)))].append(image)
    for name, group in groups.items():
        for other in sorted(group)[1:]:
            yield _warn("shared-label", other, f"has its labels ({name}) from {group[0]}, too")
    lists = {entry for split in splits for entry in split.paths}
    for folder in sorted({str(label_path(PurePosixPath(entry))) for entry in lists}):
        if not (root / folder).is_dir():
            continue
        for path in sorted((root / folder).rglob("*.txt")):
            name = path.relative_to(root).as_posix()
            known = name in wanted or name in lists or path.name in _NOT_LABELS
            if path.is_file() and not known:
                yield _warn("stray-label", name, "a label file without its image")


def _warn(kind: str, path: str, message: str) -> Finding:
    return Finding(kind=kind, severity="warning", path=path, message=message)
