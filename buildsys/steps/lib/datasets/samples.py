"""Samples: images with their labels, independent of the dataset format."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from buildsys.steps.lib.datasets.labels import Finding, Layout, Object, pack_object, repeated
from buildsys.steps.lib.datasets.placed_objects import place
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.images import decoding
from buildsys.steps.lib.images.decoding import SMALLEST, Photo

SHOWN = 20
"""Maximum number of mistakes, and of warnings of a kind, that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image with its objects; paths are relative to the dataset's root, with slashes.

    `objects`: each with its line in the file `labels`, or 0 for formats without lines, whose
    messages name the image. `labels`: empty if the image has no label file. `size`: the (width,
    height) that the labels state, or None. `ids`: of the objects, where their format has them.
    """

    image: str
    objects: tuple[tuple[int, Object], ...] = ()
    labels: str = ""
    size: tuple[int, int] | None = None
    ids: tuple[int, ...] = ()


def judge(root: Path, sample: Sample, layout: Layout) -> tuple[Photo, Sample, tuple[Finding, ...]]:
    """Return the decoded image, the sample with its objects as they are on that image, each once,
    and all findings about both.
    """
    photo = decoding.read(root / sample.image)
    if photo.image is None:
        problem = Finding.error("unreadable", sample.image, photo.problem)
        placed, findings = _place_objects(sample, None, layout)
        return photo, placed, (problem, *findings)
    height, width = photo.image.shape[:2]
    found: list[Finding] = []
    if photo.damaged:
        message = f"decodes, with a complaint: {photo.damaged}"
        found.append(Finding.warning("damaged", sample.image, message))
    if min(height, width) < SMALLEST:
        message = f"is {width}x{height} px; an image has at least {SMALLEST} px a side"
        hint = "remove it: Ultralytics leaves it out"
        found.append(Finding.error("tiny-image", sample.image, message, hint))
    if sample.size is not None and sample.size != (width, height):
        said = f"{sample.size[0]}x{sample.size[1]}"
        message = f"is {width}x{height} px; {sample.labels} says {said}"
        turned = sample.size == (height, width)
        hint = ""
        if turned:
            hint = "width and height are the other way round"
            if decoding.is_turned(root / sample.image):
                hint = "it is shown turned (EXIF): label it as it is shown"
        found.append(Finding.error("other-size", sample.image, message, hint))
    placed, findings = _place_objects(sample, (width, height), layout)
    return photo, placed, (*found, *findings)


def _place_objects(
    sample: Sample, size: tuple[int, int] | None, layout: Layout
) -> tuple[Sample, tuple[Finding, ...]]:
    """Return the sample with its objects as they are on the image, and findings.

    Each counts once: Ultralytics leaves out repeated rows, YOLOX does not. Objects that differ only
    outside the image are equal.
    """
    kept: dict[bytes, tuple[int, Object]] = {}
    findings: list[Finding] = []
    for index, (line, item) in enumerate(sample.objects):
        path = sample.labels if line else sample.image
        placed, wrong = place(item, size, path, line, layout)
        where = f"annotation {sample.ids[index]}: " if sample.ids else ""
        findings += [replace(finding, message=where + finding.message) for finding in wrong]
        if placed is None:
            continue
        key = pack_object(placed)
        if key in kept:
            findings.append(repeated(sample.labels, line, kept[key][0], sample.image))
        kept.setdefault(key, (line, placed))
    return replace(sample, objects=tuple(kept.values()), ids=()), tuple(findings)


def find_unlabelled(
    splits: Iterable[tuple[Split, tuple[Sample, ...]]], needed: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Yield splits without any object: an error if labels are `needed`, else a warning."""
    for split, samples in splits:
        if samples and not any(sample.objects for sample in samples):
            message = f"no object is labelled in the {split.name} split, in {len(samples)} images"
            hint = "its label files hold no object that is on its image"
            if not any(sample.labels for sample in samples):
                hint = (
                    "no image has a label file: labels/… stands beside images/…, by the same names"
                )
            report = Finding.error if split.name in needed else Finding.warning
            path = split.paths[-1] if split.paths else ""
            yield report("no-labels", path, message, hint)


def shorten(findings: Sequence[Finding]) -> tuple[Sequence[Finding], str]:
    """Return the first findings, and a sentence with the number of others; "" if these are all."""
    more = len(findings) - SHOWN
    return findings[:SHOWN], f"… and {more} more mistakes" if more > 0 else ""


def list_errors(findings: Iterable[Finding]) -> str:
    """Return every error as a line of a message, the first ones in full; "" if there are no errors."""
    wrong = [finding for finding in findings if finding.severity == "error"]
    if not wrong:
        return ""
    shown, more = shorten(wrong)
    lines = [str(finding) for finding in shown]
    if more:
        lines.append(f"{more}; `buildsys check --data` lists them all")
    number = "one mistake" if len(wrong) == 1 else f"{len(wrong)} mistakes"
    return "\n".join([f"the dataset has {number}:", *lines])


def list_warnings(findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the first warnings of each kind as lines of a log, and the number of the others."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "warning":
            kinds.setdefault(finding.kind, []).append(finding)
    for found in kinds.values():
        yield from (f"warning: {finding}" for finding in found[:SHOWN])
        if len(found) > SHOWN:
            more = f"{len(found) - SHOWN} more like it"
            yield f"warning: … and {more}; `buildsys check --data` lists them all"
