"""Convert a dataset from Ultralytics' layout to COCO format: annotations/<split>.json,
images/<split>/**.

No library is used, as in `coco_format`: libraries number classes from 0, write dates, re-encode
images or omit those without objects.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets.labels import Object, read_labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset",
)
_DIGITS = 6
"""Digits after the point of a pixel coordinate, which labels of twelve digits represent exactly."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the data declares. `shape`: box | outline, the form of its labels."""

    splits: tuple[Split, ...]
    classes: tuple[str, ...]
    keypoints: int = 0
    keypoint_dims: int = 0
    sigmas: tuple[float, ...] = ()
    shape: str = "box"
    file: str = "data.yaml"
    """The description of the dataset; it has the counterparts of keypoints in mirrored images."""


def places(names: tuple[str, ...]) -> tuple[tuple[str, tuple[str, str]], ...]:
    """Return the splits of the result in the form of `coco_format`: image folder, annotation file."""
    return tuple((name, ("images", f"annotations/{name}.json")) for name in names)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the images unchanged, and annotations with categories numbered from 1 in the order of
    classes.

    An image is `images/<split>/<its path below the split's folder>`, and `file_name` is relative to
    `images`: <split>/….
    """
    import cv2

    cv2.setNumThreads(1)
    root, target = inputs["dataset"], outputs["dataset"]
    pictures = {split.name: list_images(root, split) for split in params.splits}
    total, done = sum(map(len, pictures.values())), 0
    (target / "annotations").mkdir(parents=True)
    for split in params.splits:
        names = _names(root, split, pictures[split.name])
        sheet = _Sheet(params, root)
        for image in pictures[split.name]:
            sheet.add(image, f"{split.name}/{names[image]}", target)
            done += 1
            report(done, total, "pictures")
        place = target / "annotations" / f"{split.name}.json"
        place.write_text(render(sheet.data), encoding="utf-8")


def render(data: dict[str, list[dict[str, Any]]]) -> str:
    """Return JSON with one line per entry, so that differences between two files are readable."""
    blocks = []
    for key, rows in data.items():
        lines = ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows)
        blocks.append(f' "{key}": [\n{lines}\n ]' if rows else f' "{key}": []')
    return "{\n" + ",\n".join(blocks) + "\n}\n"


class _Sheet:
    """An annotation file that is being filled."""

    def __init__(self, params: Params, root: Path) -> None:
        self.params, self.root = params, root
        self.data: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "annotations": [],
            "categories": _categories(params, root),
        }

    def add(self, image: Path, name: str, target: Path) -> None:
        """Add an image with its objects, and link to it below `target`."""
        from buildsys.steps.lib.images import decoding

        params, place = self.params, target / "images" / name
        if not image.is_file():
            fail(f"{image.name} is listed and does not exist.")
        height, width = decoding.read_image(image).shape[:2]
        number = len(self.data["images"]) + 1
        row = {"id": number, "file_name": name, "width": width, "height": height}
        self.data["images"].append(row)
        for item in read_labels(
            self.root,
            image,
            params.keypoints,
            params.keypoint_dims,
            len(params.classes),
            params.shape,
        ):
            found = annotation(item, width, height)
            own = {"id": len(self.data["annotations"]) + 1, "image_id": number}
            self.data["annotations"].append(own | found)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(image.resolve())


def annotation(item: Object, width: int, height: int) -> dict[str, Any]:
    """Return an object in pixels, clipped to the image; the area is the outline's, otherwise the
    box's.
    """
    x, y, w, h = item.box
    left, right = (_cut(side) * width for side in (x - w / 2, x + w / 2))
    upper, lower = (_cut(side) * height for side in (y - h / 2, y + h / 2))
    box = [_round(value) for value in (left, upper, right - left, lower - upper)]
    row: dict[str, Any] = {"category_id": item.category + 1, "bbox": box}
    row |= {"area": _round((right - left) * (lower - upper)), "iscrowd": 0}
    if item.outline:
        points = [(_cut(x) * width, _cut(y) * height) for x, y in item.outline]
        row["segmentation"] = [[_round(value) for point in points for value in point]]
        row["area"] = _round(_area(points))
    if item.keypoints:
        points3 = [(_cut(x) * width, _cut(y) * height, v) for x, y, v in item.keypoints]
        row["keypoints"] = [
            value
            for x, y, v in points3
            for value in ((_round(x), _round(y), int(v)) if v else (0, 0, 0))
        ]
        row["num_keypoints"] = sum(v > 0 for *_, v in points3)
    return row


def _categories(params: Params, root: Path) -> list[dict[str, Any]]:
    """Return the categories; `sigmas` and `flip_idx` are keys of our own, which `coco_file` reads."""
    more: dict[str, Any] = {}
    if params.keypoints:
        more = {"keypoints": [f"k{n}" for n in range(params.keypoints)], "skeleton": []}
        more |= {"sigmas": list(params.sigmas)} if params.sigmas else {}
        mirror = _read_mirror(root / params.file)
        more |= {"flip_idx": mirror} if mirror else {}
    return [{"id": i, "name": name} | more for i, name in enumerate(params.classes, 1)]


def _read_mirror(path: Path) -> list[int]:
    """Read `flip_idx` if it is on one line; the standard library has no YAML parser."""
    text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    found = re.search(r"^flip_idx:\s*\[([\d\s,]*)\]", text, re.MULTILINE)
    return [int(word) for word in found[1].split(",") if word.strip()] if found else []


def _names(root: Path, split: Split, images: list[Path]) -> dict[Path, str]:
    """Return the path of each image below its split: relative to the split's folder, or to the root
    if there are several folders or lists of files, so that paths are unique.
    """
    folders = [root / entry for entry in split.paths]
    if len(folders) == 1 and folders[0].is_dir():
        return {image: image.relative_to(folders[0]).as_posix() for image in images}
    return {image: image.relative_to(root).as_posix() for image in images}


def _area(points: list[tuple[float, float]]) -> float:
    """Return the area of a polygon, in its units squared
    (https://en.wikipedia.org/wiki/Shoelace_formula).
    """
    ends = zip(points, [*points[1:], points[0]], strict=True)
    return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in ends)) / 2


def _cut(share: float) -> float:
    return min(max(share, 0.0), 1.0)


def _round(value: float) -> float:
    return round(value, _DIGITS)
