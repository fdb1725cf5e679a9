"""A dataset as a person brought it -> one in our own layout, which every other step reads.

Whatever the format (see `formats`), images and labels come out as `prepared` describes: for a trainer's
own rules nothing is left to decide. What it would refuse or leave out ends the step, every mistake of
images and labels at once, as `buildsys check --data` lists them.
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.datasets.labels import Layout
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    from buildsys.steps.lib.datasets.images import Photo
    from buildsys.steps.lib.datasets.prepared import Description

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset",
    # Parsing COCO takes seven times the annotation file; this is enough for 130 MB.
    resources=Resources(memory_mib=1024),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """`format`: which of `formats`; `shape`: box | outline | corners | folder, see `tasks.shape_of`.

    `with_keypoints`: whether the keypoints that are labelled are kept; `flip`: which is which in a
    mirror.
    """

    format: str
    splits: tuple[Split, ...]
    classes: tuple[str, ...]
    shape: str
    keypoints: int = 0
    keypoint_dims: int = 0
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()
    with_keypoints: bool = False


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write images and labels by split, and data.yaml where classes are not folders.

    A split without images is left out, one without objects is a warning: which splits a recipe uses is
    not known here, so that another one does not train again. Ultralytics starts no training without
    `val`: where that is missing, it repeats `train`.
    """
    import cv2

    from buildsys.steps.lib.datasets import formats, prepared
    from buildsys.steps.lib.datasets.samples import find_unlabelled, judge, list_errors

    cv2.setNumThreads(1)
    root, target = inputs["dataset"], outputs["dataset"]
    layout = Layout(
        classes=params.classes,
        keypoints=params.keypoints,
        dims=params.keypoint_dims,
        shape=params.shape,
    )
    reading = formats.read(root, params.format, params.splits, layout)
    pairs = zip(params.splits, (samples for _, samples in reading.splits), strict=True)
    findings = [*reading.findings, *find_unlabelled(pairs)]
    broken = bool(list_errors(findings))
    total, done = len(reading.samples), 0
    for split, (name, samples) in zip(params.splits, reading.splits, strict=True):
        stems = choose_stems(root, split, samples, params)
        for sample, stem in zip(samples, stems, strict=True):
            photo, wrong = judge(root, sample, layout)
            findings += wrong
            broken = broken or any(finding.severity == "error" for finding in wrong)
            if not broken:
                _write(root, target, params, sample, f"{name}/{stem}", photo)
            done += 1
            report(done, total, "images")
    problem = list_errors(dict.fromkeys(findings))
    if problem:
        fail(problem)
    for finding in dict.fromkeys(findings):
        print(f"warning: {finding}")
    filled = [name for name, samples in reading.splits if samples]
    if params.shape != "folder":
        text = prepared.describe(describe_labels(params), filled)
        (target / "data.yaml").write_text(text, encoding="utf-8")
    elif "train" in filled and "val" not in filled:
        shutil.copytree(target / "train", target / "val", symlinks=True)


def choose_stems(
    root: Path, split: Split, samples: tuple[Sample, ...], params: Params
) -> tuple[str, ...]:
    """Where each image goes below its split: its path below the folder that the split names first,
    where that holds all of them; else the path from the root, so that no two are one. A folder of the
    split's name that holds all of them is not doubled.
    """
    from buildsys.steps.lib.datasets import prepared

    names = [sample.image for sample in samples]
    if params.shape == "folder":
        below = [name.removeprefix(f"{split.paths[0]}/") for name in names]
        return prepared.choose_stems(below, left_out="")
    for first in (f"{split.paths[0]}/", f"{split.name}/"):
        if all(name.startswith(first) for name in names):
            names = [name.removeprefix(first) for name in names]
    return prepared.choose_stems(names)


def _write(
    root: Path, target: Path, params: Params, sample: Sample, stem: str, photo: "Photo"
) -> None:
    """An image and its labels; `stem`: <split>/…, without an ending."""
    from buildsys.steps.lib.datasets import prepared

    name = f"{stem}{prepared.ending_of(sample.image, photo)}"
    if params.shape == "folder":
        prepared.write_image(root / sample.image, target / name, photo)
        return
    prepared.write_image(root / sample.image, target / "images" / name, photo)
    objects = [item for _, item in sample.objects]
    if not params.with_keypoints:
        objects = [dataclasses.replace(item, keypoints=()) for item in objects]
    prepared.write_labels(target / "labels" / f"{stem}.txt", objects, params.keypoint_dims)


def describe_labels(params: Params) -> "Description":
    """What the labels that are kept mean."""
    from buildsys.steps.lib.datasets.prepared import Description

    if not params.with_keypoints:
        return Description(classes=params.classes)
    return Description(
        classes=params.classes,
        keypoints=params.keypoints,
        keypoint_dims=params.keypoint_dims,
        sigmas=params.sigmas,
        flip=params.flip,
    )
