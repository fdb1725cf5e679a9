"""A dataset that is not split -> one that is, by seeded shares; equal images stay on one side."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets import prepared
from buildsys.steps.lib.datasets.labels import find_labels
from buildsys.steps.lib.datasets.prepared import Description
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset.split",
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Shares of the distinct images; what is in neither trains.

    `split`: where all of them are in a prepared dataset; `description`: what data.yaml says, None where
    classes are folders.
    """

    split: Split
    description: Description | None
    val: float
    test: float
    seed: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Images and labels of each split as `prepared` describes them, under the names that they have.
    They are links: the store makes the one copy.
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
    """Images of equal bytes together, in the order of their digests: names decide nothing."""
    import hashlib

    groups: dict[str, list[Path]] = {}
    for image in images:
        groups.setdefault(hashlib.sha256(image.read_bytes()).hexdigest(), []).append(image)
    return [groups[digest] for digest in sorted(groups)]


def _share(count: int, params: Params) -> list[str]:
    """The side of each group."""
    val, test = max(1, round(count * params.val)), round(count * params.test)
    if params.test:
        test = max(1, test)
    if val + test >= count:
        fail(f"{count} distinct images cannot be shared out into train, val and test.")
    return ["val"] * val + ["test"] * test + ["train"] * (count - val - test)
