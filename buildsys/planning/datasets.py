"""The dataset of one build in the layout that each step wants, and the pictures taken from it. Pure."""

from buildsys.authoring.datasets.calibration_images import split_glob
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.recipe import CALIBRATED
from buildsys.graph import Input, Source, Step
from buildsys.planning.plan_builder import Blueprint, output
from buildsys.registry import step_module
from buildsys.spec import Format
from buildsys.steps.lib.heads.tasks import shape_of

_SAMPLES = 4
"""Pictures on which every conversion is compared with its input."""


def add_dataset(blue: Blueprint) -> None:
    block, facts = blue.build.recipe.dataset, blue.build.dataset
    if block is None or facts is None:
        return
    if block.generator is not None:
        module = step_module(f"generate_{block.generator}")
        params = module.plan(blue.build.generator, blue.model.task or "detect")
        step = blue.add("dataset", module, params, {}, {Format.DATASET: True})
        blue.made["dataset"] = output(step, "dataset")
        if block.format == "coco":
            blue.made["dataset"] = write_coco(blue, "write-coco")
            _read_coco(blue, step_module("write_coco").places(tuple(dict(facts.splits))))
        return
    root, params = blue.build.split or (facts.root, None)
    parts = blue.build.dataset_parts
    source = Source(path=root, label=block.label, parts=parts, kind="dataset")
    blue.made["dataset"] = Input(name="dataset", source=source)
    if facts.coco:
        _read_coco(blue, facts.coco)
    if params is not None:
        module = step_module("split_dataset")
        inputs, outputs = {"dataset": blue.made["dataset"]}, {Format.DATASET: True}
        blue.made["dataset"] = output(blue.add("split", module, params, inputs, outputs), "dataset")


def _read_coco(blue: Blueprint, splits: tuple[tuple[str, str, str], ...]) -> None:
    """From here on the dataset is in Ultralytics' layout, which every step reads."""
    module = step_module("read_coco")
    params = module.plan(splits, blue.model.task or "detect")
    inputs, outputs = {"dataset": blue.made["dataset"]}, {Format.DATASET: True}
    blue.made["dataset"] = output(blue.add("read-coco", module, params, inputs, outputs), "dataset")


def write_coco(blue: Blueprint, stage: str) -> Input:
    """The dataset in COCO format: one form, whatever it was written in."""
    module, facts = step_module("write_coco"), blue.build.dataset
    assert facts is not None
    params = module.Params(
        splits=tuple(module.Split(name=name, paths=paths) for name, paths in facts.splits),
        classes=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        sigmas=facts.sigmas,
        shape=shape_of(blue.model.task),
        file=facts.file,
    )
    inputs, outputs = {"dataset": blue.made["dataset"]}, {Format.DATASET: True}
    return output(blue.add(stage, module, params, inputs, outputs), "dataset")


def add_pictures(blue: Blueprint) -> None:
    """The calibration set, and the few pictures that conversions are compared on."""
    calibration = blue.build.recipe.quantization.calibration
    if blue.model.preprocessing is None:
        return
    dataset, split, facts = blue.made.get("dataset"), "train", blue.build.dataset
    if calibration is not None and calibration.images is not None:
        root, pattern = split_glob(calibration.images)
        source = Source(
            path=f"{blue.workspace}/{root}",
            label=calibration.images,
            parts=(pattern,),
            kind="pictures",
        )
        dataset, split = Input(name="dataset", source=source), calibration.images
        places: tuple[str, ...] = (".",)
    elif calibration is not None and calibration.split is not None:
        split = calibration.split
        places = (facts.split(split) if facts else None) or ()
    else:
        places = (facts.split(split) if facts else None) or ()
    if dataset is None or not places:
        return
    _prepare(blue, "samples", dataset, split, places, _SAMPLES, 0)
    if calibration is not None and blue.model.quantization.scheme in CALIBRATED:
        blue.made["calibrated-from"] = dataset
        _prepare(blue, "calibration", dataset, split, places, calibration.count, calibration.seed)


def _prepare(
    blue: Blueprint,
    stage: str,
    dataset: Input,
    split: str,
    places: tuple[str, ...],
    count: int,
    seed: int,
) -> None:
    module = step_module("prepare_pictures")
    params = module.Params(
        split=module.Split(name=split, paths=places),
        count=count,
        seed=seed,
        preprocessing=blue.model.preprocessing,
    )
    step = blue.add(stage, module, params, {"dataset": dataset}, {Format.PICTURES: True})
    blue.made[stage] = output(step, Format.PICTURES)


def plan_dataset(build: Build, workspace: str) -> tuple[tuple[Step, ...], Input | None]:
    """The steps that make a build's dataset, and the dataset; None where the recipe has none."""
    blue = Blueprint(build, workspace)
    add_dataset(blue)
    return tuple(blue.steps), blue.made.get("dataset")
