"""A dataset in COCO format -> one in Ultralytics' layout; pictures stay the bytes that they are.

Own code, because no library keeps it all: Ultralytics' `convert_coco` takes the id less one for the
class and leaves out empty pictures' files and boxes without extent, supervision drops categories
whose `supercategory` is none, globox the folders in a `file_name`; none of them names a mistake.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.datasets import coco_splits
from buildsys.steps.lib.datasets.coco_file import ImageEntry, Layout, Mistake
from buildsys.steps.lib.datasets.coco_splits import CocoSplit
from buildsys.steps.lib.datasets.labels import Object, label_file
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


def places(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The splits that come out, as facts of the dataset."""
    return tuple((name, (f"images/{name}",)) for name in names)


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
        names = choose_names(sheet.images, split.name)
        for picture, objects in zip(sheet.images, sheet.objects, strict=True):
            found = _look(root, split, picture)
            mistakes += found
            if not mistakes:
                place = target / "images" / split.name / names[picture.id]
                _write(root / split.images / picture.name, place, objects)
            done += 1
            report(done, total, "pictures")
    coco_splits.refuse(mistakes)
    first = next(iter(sheets.values()))
    text = describe(first.layout, tuple(sheets))
    (target / "data.yaml").write_text(text, encoding="utf-8")


def choose_names(pictures: tuple[ImageEntry, ...], split: str) -> dict[int, str]:
    """Where each picture goes below images/<split>, by id: its own name, without a folder `split`
    that holds them all, or a longer name where two would share their labels.

    Labels are found by a picture's name without its ending: a.jpg and a.png have one file.
    """
    inside = all(picture.name.startswith(f"{split}/") for picture in pictures)
    cut = len(split) + 1 if inside else 0
    stems = [str(PurePosixPath(picture.name[cut:]).with_suffix("")) for picture in pictures]
    taken: set[str] = set()
    names = {}
    for picture, stem in zip(pictures, stems, strict=True):
        suffix, chosen = PurePosixPath(picture.name).suffix, stem
        while chosen in taken or (chosen != stem and chosen in stems):
            chosen = f"{chosen}-{suffix[1:]}"
        taken.add(chosen)
        names[picture.id] = chosen + suffix
    return names


def describe(layout: Layout, splits: tuple[str, ...]) -> str:
    """data.yaml, with the facts that the categories hold."""
    lines = [f"{name}: {where[0]}" for name, where in places(splits)]
    lines.append("names:")
    lines += [f"  {i}: {json.dumps(n, ensure_ascii=False)}" for i, n in enumerate(layout.names)]
    if layout.keypoints:
        lines.append(f"kpt_shape: [{len(layout.keypoints)}, 3]")
        lines += [f"flip_idx: {list(layout.flip)}"] if layout.flip else []
        lines += [f"kpt_oks_sigmas: {list(layout.sigmas)}"] if layout.sigmas else []
    return "\n".join(lines) + "\n"


def label_line(item: Object) -> str:
    """One row of a label file, twelve digits a figure: a box of 10000 px comes back to 1e-8 px."""
    values: list[float] = [value for point in item.outline for value in point]
    if not item.outline:
        values = [*item.box, *(value for point in item.keypoints for value in point)]
    return " ".join([str(item.category), *(f"{value:.12g}" for value in values)]) + "\n"


def _write(source: Path, target: Path, objects: tuple[Object, ...]) -> None:
    labels = label_file(target)
    for place in (target, labels):
        place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    labels.write_text("".join(map(label_line, objects)), encoding="utf-8")


def _look(root: Path, split: CocoSplit, picture: ImageEntry) -> list[Mistake]:
    """What only the picture itself can tell."""
    from buildsys.steps.lib.datasets import photographs, prepared_images

    path = root / split.images / picture.name
    where = f"{split.images}/{picture.name}"
    photo = photographs.read(path)
    if photo.image is None:
        return [Mistake(path=where, message=photo.problem)]
    if prepared_images.is_cut_off(path.read_bytes()):
        return [Mistake(path=where, message="is cut off; fetch it again, or remove it")]
    height, width = photo.image.shape[:2]
    if (width, height) == (picture.width, picture.height):
        return []
    said = f"{picture.width}x{picture.height}"
    message = f"image {picture.id}: {picture.name} is {width}x{height}, not {said}"
    turned = (height, width) == (picture.width, picture.height)
    hint = "it is shown turned (EXIF): label it as it is shown" if turned else ""
    return [Mistake(path=split.annotations, message=message, hint=hint)]
