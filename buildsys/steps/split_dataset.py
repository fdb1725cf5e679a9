"""Split a dataset by seeded shares; images with equal bytes stay in one split."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets import prepared
from buildsys.steps.lib.datasets.labels import find_labels
from buildsys.steps.lib.datasets.prepared import Description
from buildsys.steps.lib.datasets.split_shares import divide
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset.split",
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Shares of the distinct images; the rest is for training. `split`: the split of a prepared
    dataset that has all images; `description`: the content of data.yaml, None if classes are
    folders.
    """

    split: Split
    description: Description | None
    val: float
    test: float
    seed: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write images and labels of each split as described in `prepared`, under their present names.
    They are links, which the store copies once.
    """
    import random

    root, target = inputs["dataset"], outputs["dataset"]
    images = list_images(root, params.split)
    groups = _group(images)
    random.Random(params.seed).shuffle(groups)
    sides = _share(len(groups), params)
    (home,) = params.split.paths
    places = dict(prepared.places(("train", "val", "test"), folders=params.description is None))
    done = 0
    for group, side in zip(groups, sides, strict=True):
        for image in group:
            place = target / places[side][0] / image.relative_to(root / home)
            _link(image, place)
            if params.description is not None:
                _link(find_labels(root, image), find_labels(target, place))
            done += 1
        report(done, len(images), "images")
    if params.description is not None:
        names = [name for name in places if name in sides]
        text = prepared.describe(params.description, names)
        (target / "data.yaml").write_text(text, encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _group(images: list[Path]) -> list[list[Path]]:
    """Group images of equal bytes, in the order of their digests, so that names do not matter."""
    import hashlib

    groups: dict[str, list[Path]] = {}
    for image in images:
        groups.setdefault(hashlib.sha256(image.read_bytes()).hexdigest(), []).append(image)
    return [groups[digest] for digest in sorted(groups)]


def _share(count: int, params: Params) -> list[str]:
    """Return the split of each group."""
    numbers = divide(count, params.val, params.test)
    if numbers["train"] <= 0:
        fail(f"{count} distinct images cannot be shared out into train, val and test.")
    return [name for name in ("val", "test", "train") for _ in range(numbers[name])]
