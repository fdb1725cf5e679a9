"""Write a dataset in our own layout, which every trainer reads the same way.

It has images/<split>/** with labels/<split>/**.txt, or <split>/<class>/** if classes are folders,
and a data.yaml. An image that every decoder reads alike keeps its bytes, a JPEG without other data
behind it; any other is written as 8-bit PNG. Every image has a label file, which is empty if
nothing is labelled; no two images share a stem.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.images import jpeg_file
from buildsys.steps.lib.images.decoding import Photo
from buildsys.steps.lib.images.png_file import encode_png


@dataclass(frozen=True, kw_only=True)
class Description:
    """The content of data.yaml; `flip`: for each keypoint its counterpart in a mirrored image."""

    classes: tuple[str, ...]
    keypoints: int = 0
    keypoint_dims: int = 0
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()


def places(names: Iterable[str], folders: bool = False) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the paths of a prepared dataset's splits; `folders`: whether classes are folders."""
    return tuple((name, (name if folders else f"images/{name}",)) for name in names)


def ending_of(name: str, photo: Photo) -> str:
    """Return the ending of the prepared image's name: its own, unless the format is another."""
    suffix = PurePosixPath(name).suffix
    if photo.plain or (photo.jpeg and suffix.lower() in jpeg_file.SUFFIXES):
        return suffix
    return jpeg_file.SUFFIXES[0] if photo.jpeg else ".png"


def write_image(source: Path, target: Path, photo: Photo) -> None:
    """Write a plain image as a link to its file, which the store copies once; write other images as
    JPEG if that has the same pixels, otherwise as PNG.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if photo.plain:
        target.symlink_to(source.resolve())
        return
    if photo.jpeg:
        target.write_bytes(photo.jpeg)
        return
    assert photo.image is not None
    target.write_bytes(encode_png(photo.image))


def write_labels(target: Path, objects: Iterable[Object], dims: int = 3) -> None:
    """Write a label file; empty for an image without objects."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(label_line(item, dims) for item in objects), encoding="utf-8")


def label_line(item: Object, dims: int = 3) -> str:
    """Return one row of a label file with twelve digits per number, which is exact to 1e-8 px in
    10000 px. An unlabelled keypoint is written as zeros; `dims`: 2 omits the visibility.
    """
    values: list[float] = [value for point in item.outline for value in point]
    if not item.outline:
        points = (point if point[2] else (0.0, 0.0, 0.0) for point in item.keypoints)
        values = [*item.box, *(value for point in points for value in point[:dims])]
    return " ".join([str(item.category), *(f"{value:.12g}" for value in values)]) + "\n"


def describe(description: Description, splits: Iterable[str]) -> str:
    """Return the text of data.yaml; names are quoted, so that YAML readers take `no` as a string.
    Ultralytics requires `val`: without that split, `val` repeats `train`.
    """
    found = dict(places(splits))
    if "train" in found:
        found.setdefault("val", found["train"])
    lines = [f"{name}: {where[0]}" for name, where in found.items()]
    lines.append("names:")
    lines += [
        f"  {index}: {json.dumps(name, ensure_ascii=False)}"
        for index, name in enumerate(description.classes)
    ]
    if description.keypoints:
        lines.append(f"kpt_shape: [{description.keypoints}, {description.keypoint_dims}]")
        lines += [f"flip_idx: {list(description.flip)}"] if description.flip else []
        lines += [f"kpt_oks_sigmas: {list(description.sigmas)}"] if description.sigmas else []
    return "\n".join(lines) + "\n"
