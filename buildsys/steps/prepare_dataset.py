"""Convert a user's dataset to our own layout, which every other step reads.

Images and labels of any format (see `readers`) are written as described in `prepared`, which every
trainer reads the same way. Images and labels that a trainer would reject or omit end the step, with
all mistakes at once, as listed by `buildsys check --data`.
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
    from buildsys.steps.lib.datasets.prepared import Description
    from buildsys.steps.lib.images.decoding import Photo

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset",
    # Parsing COCO needs seven times the size of the annotation file; this is enough for 130 MB.
    resources=Resources(memory_mib=1024),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """`format`: a key of `readers.FORMATS`; `shape`: box | outline | corners | folder, see
    `tasks.shape_of`. `with_keypoints`: whether labelled keypoints are kept; `flip`: for each
    keypoint its counterpart in a mirrored image.
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
    """Write images and labels by split, and data.yaml unless classes are folders.

    A split without images is omitted, one without objects is a warning: this step does not depend
    on the splits that a recipe uses, so that using another one does not repeat the training.
    Ultralytics requires `val`: if it is missing, it repeats `train`.
    """
    import cv2

    from buildsys.steps.lib.datasets import prepared, readers
    from buildsys.steps.lib.datasets.samples import (
        find_unlabelled,
        judge,
        list_errors,
        list_warnings,
    )

    cv2.setNumThreads(1)
    root, target = inputs["dataset"], outputs["dataset"]
    layout = Layout(
        classes=params.classes,
        keypoints=params.keypoints,
        dims=params.keypoint_dims,
        shape=params.shape,
    )
    reading = readers.read(root, params.format, params.splits, layout)
    findings = list(reading.findings)
    broken = bool(list_errors(findings))
    total, done = len(reading.samples), 0
    for split, (name, samples) in zip(params.splits, reading.splits, strict=True):
        stems = choose_stems(root, split, samples, params)
        kept = []
        for given, stem in zip(samples, stems, strict=True):
            photo, sample, wrong = judge(root, given, layout)
            kept.append(sample)
            findings += wrong
            broken = broken or any(finding.severity == "error" for finding in wrong)
            if not broken:
                _write(root, target, params, sample, f"{name}/{stem}", photo)
            done += 1
            report(done, total, "images")
        findings += find_unlabelled([(split, tuple(kept))])
    problem = list_errors(dict.fromkeys(findings))
    if problem:
        fail(problem)
    for line in list_warnings(dict.fromkeys(findings)):
        print(line)
    filled = [name for name, samples in reading.splits if samples]
    if params.shape != "folder":
        text = prepared.describe(describe_labels(params), filled)
        (target / "data.yaml").write_text(text, encoding="utf-8")
    elif "train" in filled and "val" not in filled:
        shutil.copytree(target / "train", target / "val", symlinks=True)


def choose_stems(
    root: Path, split: Split, samples: tuple[Sample, ...], params: Params
) -> tuple[str, ...]:
    """Return the path of each image below its split: relative to the first folder of the split if
    it contains all images, otherwise to the root, so that paths are unique. A folder with the
    split's name that contains all images is not repeated.
    """
    from buildsys.steps.lib.datasets import prepared_names

    names = [sample.image for sample in samples]
    if params.shape == "folder":
        below = [name.removeprefix(f"{split.paths[0]}/") for name in names]
        return prepared_names.choose_stems(below, left_out="", kept=1)
    for first in (f"{split.paths[0]}/", f"{split.name}/"):
        if all(name.startswith(first) for name in names):
            names = [name.removeprefix(first) for name in names]
    return prepared_names.choose_stems(names)


def _write(
    root: Path, target: Path, params: Params, sample: Sample, stem: str, photo: "Photo"
) -> None:
    """Write an image and its labels; `stem`: <split>/…, without an ending."""
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
    """Return the description of the labels that are kept."""
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
