"""A dataset in our own layout, in which nothing is left for a trainer's own rules to decide.

images/<split>/** and labels/<split>/**.txt beside it, or <split>/<class>/** where classes are folders,
and a data.yaml. An image that every decoder reads alike keeps its bytes; any other is written as PNG of
8 bits. Every image has a label file, an empty one where nothing is labelled; no two share a stem.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.steps.lib.datasets.images import Photo
from buildsys.steps.lib.datasets.labels import Object


@dataclass(frozen=True, kw_only=True)
class Description:
    """What data.yaml says of a prepared dataset; `flip`: which keypoint is which in a mirror."""

    classes: tuple[str, ...]
    keypoints: int = 0
    keypoint_dims: int = 0
    sigmas: tuple[float, ...] = ()
    flip: tuple[int, ...] = ()


def places(names: Iterable[str], folders: bool = False) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Where the splits of a prepared dataset are; `folders`: where classes are folders."""
    return tuple((name, (name if folders else f"images/{name}",)) for name in names)


def choose_stems(names: Sequence[str], left_out: str = "images") -> tuple[str, ...]:
    """Where each image of a split goes, below the split's folder and without an ending.

    `names`: its path below the folder that it comes from. Labels are found by a name without its
    ending, so of a.jpg and a.png one gets a longer name. Folders called `left_out` are left out: the
    last `images` in a path decides where a trainer looks for labels.
    """
    stems = []
    for name in names:
        path = PurePosixPath(name)
        folders = [part for part in path.parent.parts if part != left_out]
        stems.append(str(PurePosixPath(*folders, path.stem)))
    taken: set[str] = set()
    known = set(stems)
    chosen = []
    for name, stem in zip(names, stems, strict=True):
        mine = stem
        while mine in taken or (mine != stem and mine in known):
            mine = f"{mine}-{PurePosixPath(name).suffix[1:]}"
        taken.add(mine)
        chosen.append(mine)
    return tuple(chosen)


def ending_of(name: str, photo: Photo) -> str:
    """The ending of the prepared image's name: its own, or .png where its bytes are not kept."""
    return PurePosixPath(name).suffix if photo.plain else ".png"


def write_image(source: Path, target: Path, photo: Photo) -> None:
    """A plain image as a link to its file, of which the store makes the one copy; else its pixels."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if photo.plain:
        target.symlink_to(source.resolve())
        return
    import cv2

    assert photo.image is not None
    ok, data = cv2.imencode(".png", photo.image)
    assert ok, target.name
    target.write_bytes(data.tobytes())


def write_labels(target: Path, objects: Iterable[Object], dims: int = 3) -> None:
    """A label file; empty for an image without objects."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(label_line(item, dims) for item in objects), encoding="utf-8")


def label_line(item: Object, dims: int = 3) -> str:
    """One row of a label file, twelve digits a figure: a box of 10000 px comes back to 1e-8 px.

    A keypoint that is not labelled has no place; `dims`: 2 leaves out its visibility.
    """
    values: list[float] = [value for point in item.outline for value in point]
    if not item.outline:
        points = (point if point[2] else (0.0, 0.0, 0.0) for point in item.keypoints)
        values = [*item.box, *(value for point in points for value in point[:dims])]
    return " ".join([str(item.category), *(f"{value:.12g}" for value in values)]) + "\n"


def describe(description: Description, splits: Iterable[str]) -> str:
    """data.yaml; names are quoted, so that every YAML reader takes `no` for a word.

    Ultralytics starts no training without `val`: without that split, `val` repeats `train`.
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
