"""A dataset that is not split -> one that is, by seeded shares; equal pictures stay on one side."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets.labels import find_labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    consumes=(Format.DATASET,),
    produces=Format.DATASET,
    block="dataset.split",
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """Shares of the distinct pictures; what is in neither trains.

    `file`: the data.yaml; empty where classes are folders and nothing describes them.
    """

    file: str
    split: Split
    val: float
    test: float
    seed: int


def make_params(block: Any, train: tuple[str, ...], file: str) -> Params:
    """`block`: the recipe's `dataset.split`; `train`: where all pictures are."""
    split = Split(name="train", paths=train)
    return Params(file=file, split=split, val=block.val, test=block.test, seed=block.seed)


def splits(params: Params) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The splits that come out, as facts of the dataset."""
    names = ("train", "val", "test") if params.test else ("train", "val")
    folder = "images/" if params.file else ""
    return tuple((name, (f"{folder}{name}",)) for name in names)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Images and labels into images/<split> and labels/<split>, and what describes them; images in
    folders of their classes into <split>/<class>. They are links: the store makes the one copy.
    """
    import random

    root, target = inputs["dataset"], outputs["dataset"]
    images = list_images(root, params.split)
    groups = _group(images)
    random.Random(params.seed).shuffle(groups)
    taken: set[tuple[str, str]] = set()
    done = 0
    for group, side in zip(groups, _share(len(groups), params), strict=True):
        for image in group:
            done += 1
            stem = image.stem if (side, image.stem) not in taken else f"{image.stem}-{done}"
            taken.add((side, stem))  # pictures of several folders may share a name
            for folder, source in _destinations(image, root, side, params):
                if source.is_file():
                    place = target / folder / (stem + source.suffix)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(source.resolve())
        report(done, len(images), "pictures")
    if params.file:
        _describe(root / params.file, target / "data.yaml", params)


def _destinations(image: Path, root: Path, side: str, params: Params) -> list[tuple[str, Path]]:
    """(folder, file) of a picture and of what belongs to it."""
    if params.file:
        return [(f"images/{side}", image), (f"labels/{side}", find_labels(root, image))]
    entry = next(e for e in params.split.paths if image.is_relative_to(root / e))
    inside = image.relative_to(root / entry).parts
    return [(f"{side}/{inside[0]}" if len(inside) > 1 else side, image)]


def _group(images: list[Path]) -> list[list[Path]]:
    """Pictures of equal bytes together, in the order of their digests: names decide nothing."""
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
        fail(f"{count} distinct pictures cannot be shared out into train, val and test.")
    return ["val"] * val + ["test"] * test + ["train"] * (count - val - test)


def _describe(source: Path, target: Path, params: Params) -> None:
    """The data.yaml without its own splits (top-level blocks of text), with ours."""
    kept, skipping = [], False
    text = source.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("{"):
        fail(
            f"{source.name} is one block in braces; write it a key a line, so that it can be split."
        )
    for line in text.splitlines():
        if line[:1] not in (" ", "\t", "-", "#", ""):
            skipping = line.split(":")[0].strip("\"' ") in ("path", "train", "val", "test")
        if not skipping:
            kept.append(line)
    ours = [f"{name}: {places[0]}" for name, places in splits(params)]
    target.write_text("\n".join([*kept, *ours]) + "\n", encoding="utf-8")
