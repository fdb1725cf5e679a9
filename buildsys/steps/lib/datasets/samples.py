"""A sample: one image and what is labelled on it, whatever format it was written in."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys.steps.lib.datasets import images
from buildsys.steps.lib.datasets.images import SMALLEST, Photo
from buildsys.steps.lib.datasets.labels import Finding, Layout, Object, check_object
from buildsys.steps.lib.datasets.ultralytics_layout import Split

SHOWN = 20
"""Mistakes that are listed one by one."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Paths are relative to the dataset's root, with slashes.

    `objects`: each with its line in the file `labels`, 0 where lines mean nothing: then messages name
    the image; `labels` is empty where no file belongs to the image. `size`: (width, height) that the labels state, None where they
    state none.
    """

    image: str
    objects: tuple[tuple[int, Object], ...] = ()
    labels: str = ""
    size: tuple[int, int] | None = None


def judge(root: Path, sample: Sample, layout: Layout) -> tuple[Photo, tuple[Finding, ...]]:
    """The decoded image, and all that is wrong with it and with what is labelled on it."""
    photo = images.read(root / sample.image)
    if photo.image is None:
        problem = _error("unreadable", sample.image, photo.problem)
        return photo, (problem, *_check_objects(sample, None, layout))
    height, width = photo.image.shape[:2]
    found: list[Finding] = []
    if photo.damaged:
        message = f"decodes, with a complaint: {photo.damaged}"
        found.append(
            Finding(kind="damaged", severity="warning", path=sample.image, message=message)
        )
    if min(height, width) < SMALLEST:
        message = f"is {width}x{height} px; an image has at least {SMALLEST} px a side"
        hint = "remove it: Ultralytics leaves it out"
        found.append(_error("tiny-image", sample.image, message, hint))
    if sample.size is not None and sample.size != (width, height):
        said = f"{sample.size[0]}x{sample.size[1]}"
        message = f"is {width}x{height} px; {sample.labels} says {said}"
        turned = sample.size == (height, width)
        hint = ""
        if turned:
            hint = "width and height are the other way round"
            if images.is_turned(root / sample.image):
                hint = "it is shown turned (EXIF): label it as it is shown"
        found.append(_error("other-size", sample.image, message, hint))
    return photo, (*found, *_check_objects(sample, (width, height), layout))


def _check_objects(
    sample: Sample, size: tuple[int, int] | None, layout: Layout
) -> tuple[Finding, ...]:
    return tuple(
        finding
        for line, item in sample.objects
        for finding in check_object(
            item, size, sample.labels if line else sample.image, line, layout
        )
    )


def find_unlabelled(
    splits: Iterable[tuple[Split, tuple[Sample, ...]]], needed: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Splits of images without a single object: an error where labels are `needed`, else a warning."""
    for split, samples in splits:
        if samples and not any(sample.objects for sample in samples):
            message = f"no object is labelled in the {split.name} split, in {len(samples)} images"
            hint = "its label files hold no object"
            if not any(sample.labels for sample in samples):
                hint = (
                    "no image has a label file: labels/… stands beside images/…, by the same names"
                )
            yield Finding(
                kind="no-labels",
                severity="error" if split.name in needed else "warning",
                path=split.paths[-1] if split.paths else "",
                message=message,
                hint=hint,
            )


def shorten(findings: Sequence[Finding]) -> tuple[Sequence[Finding], str]:
    """The first ones, and a sentence that says how many more there are; empty where these are all."""
    more = len(findings) - SHOWN
    return findings[:SHOWN], f"… and {more} more mistakes" if more > 0 else ""


def list_errors(findings: Iterable[Finding]) -> str:
    """Every error as a line of a message, the first ones in full; empty where there is none."""
    wrong = [finding for finding in findings if finding.severity == "error"]
    if not wrong:
        return ""
    shown, more = shorten(wrong)
    lines = [str(finding) for finding in shown]
    if more:
        lines.append(f"{more}; `buildsys check --data` lists them all")
    number = "one mistake" if len(wrong) == 1 else f"{len(wrong)} mistakes"
    return "\n".join([f"the dataset has {number}:", *lines])


def _error(kind: str, path: str, message: str, hint: str = "") -> Finding:
    return Finding(kind=kind, severity="error", path=path, message=message, hint=hint)
