"""A dataset in COCO format -> one in our own layout, see `prepared`.

Own code, because no library keeps it all: Ultralytics' `convert_coco` takes the id less one for the
class and leaves out empty pictures' files and boxes without extent, supervision drops categories
whose `supercategory` is none, globox the folders in a `file_name`; none of them names a mistake.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.datasets import coco_splits, images, prepared
from buildsys.steps.lib.datasets.coco_file import ImageEntry, Layout, Mistake
from buildsys.steps.lib.datasets.coco_splits import CocoSplit
from buildsys.steps.lib.datasets.images import Photo
from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.runtime.progress import report

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset",
    # Parsing takes seven times the annotation file; this is enough for 130 MB.
    resources=Resources(memory_mib=1024),
)
SHAPES = {"detect": "box", "segment": "outline", "pose": "keypoints"}
"""What each task wants of an annotation; for the other tasks COCO's format has no labels."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """`shape`: box | outline | keypoints."""

    splits: tuple[CocoSplit, ...]
    shape: str


def make_params(
    splits: tuple[tuple[str, str, str], ...], task: str, base_names: bool = False
) -> Params:
    """`splits`: name, annotation file, folder of pictures, from the dataset's root."""
    found = tuple(
        CocoSplit(name=n, annotations=a, images=i, base_names=base_names) for n, a, i in splits
    )
    return Params(splits=found, shape=SHAPES[task])


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write images/<split>/**, labels/<split>/**.txt and data.yaml; an empty picture's labels are an
    empty file. Ends the step with every mistake of all annotation files and pictures at once.
    """
    import cv2

    cv2.setNumThreads(1)
    root, target = inputs["dataset"], outputs["dataset"]
    sheets, mistakes = coco_splits.read_splits(root, params.splits, params.shape)
    coco_splits.refuse(mistakes)
    total, done = sum(len(sheet.images) for sheet in sheets.values()), 0
    for split in params.splits:
        sheet = sheets[split.name]
        if sheet.crowds:
            print(f"{split.annotations}: annotations of crowds were left out: {sheet.crowds}")
        stems = choose_stems(sheet.images, split.name)
        for picture, stem, objects in zip(sheet.images, stems, sheet.objects, strict=True):
            photo, found = _look(root, split, picture)
            mistakes += found
            if not mistakes:
                source = root / split.images / picture.name
                _write(target, source, f"{split.name}/{stem}", photo, objects)
            done += 1
            report(done, total, "pictures")
    coco_splits.refuse(mistakes)
    first = next(iter(sheets.values()))
    text = describe(first.layout, tuple(sheets))
    (target / "data.yaml").write_text(text, encoding="utf-8")


def choose_stems(pictures: tuple[ImageEntry, ...], split: str) -> tuple[str, ...]:
    """Where each image goes below images/<split>, without an ending: its own name, without a folder
    `split` that holds them all; see `prepared.choose_stems`.
    """
    inside = all(picture.name.startswith(f"{split}/") for picture in pictures)
    cut = len(split) + 1 if inside else 0
    return prepared.choose_stems([picture.name[cut:] for picture in pictures])


def describe(layout: Layout, splits: tuple[str, ...]) -> str:
    """data.yaml, with the facts that the categories hold."""
    description = prepared.Description(
        classes=layout.names,
        keypoints=len(layout.keypoints),
        keypoint_dims=3,
        sigmas=layout.sigmas,
        flip=layout.flip,
    )
    return prepared.describe(description, splits)


def _write(
    target: Path, source: Path, stem: str, photo: Photo, objects: tuple[Object, ...]
) -> None:
    """An image and its labels; `stem`: <split>/…, without an ending."""
    name = f"{stem}{prepared.ending_of(source.name, photo)}"
    prepared.write_image(source, target / "images" / name, photo)
    prepared.write_labels(target / "labels" / f"{stem}.txt", objects)


def _look(root: Path, split: CocoSplit, picture: ImageEntry) -> tuple[Photo, list[Mistake]]:
    """What only the image itself can tell."""
    path = root / split.images / picture.name
    where = f"{split.images}/{picture.name}"
    photo = images.read(path)
    if photo.image is None:
        return photo, [Mistake(path=where, message=photo.problem)]
    height, width = photo.image.shape[:2]
    if min(height, width) < images.SMALLEST:
        message = f"is {width}x{height} px; an image has at least {images.SMALLEST} px a side"
        return photo, [Mistake(path=where, message=message)]
    if (width, height) == (picture.width, picture.height):
        return photo, []
    said = f"{picture.width}x{picture.height}"
    message = f"image {picture.id}: {picture.name} is {width}x{height}, not {said}"
    turned = (height, width) == (picture.width, picture.height)
    hint = "it is shown turned (EXIF): label it as it is shown" if turned else ""
    return photo, [Mistake(path=split.annotations, message=message, hint=hint)]
