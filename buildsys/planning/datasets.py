"""The dataset of one build in the layout that each step needs, and the images taken from it.

Pure.
"""

import dataclasses

from buildsys.authoring.datasets.blocks import Split as Shares
from buildsys.authoring.datasets.calibration_images import split_glob
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.recipe import CALIBRATED
from buildsys.graph import HostFacts, Input, Source, Step
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import output
from buildsys.registry import get_step, read_step
from buildsys.spec import Format
from buildsys.steps import (
    prepare_dataset,
    prepare_pictures,
    split_dataset,
    write_coco,
)
from buildsys.steps.lib.datasets import prepared
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.heads.tasks import shape_of

_SAMPLES = 4
"""The number of images on which conversions are compared with their inputs."""


def add_dataset(builder: PlanBuilder) -> None:
    block, facts = builder.build.recipe.dataset, builder.build.dataset
    if block is None or facts is None:
        return
    if block.generator is not None:
        definition = get_step(f"generate_{block.generator}")
        chosen = definition.plan(builder.build.generator, builder.model, builder.board)
        step = builder.add("dataset", definition, chosen, {})
        builder.artifacts["dataset"] = output(step, "dataset")
        if block.format == "coco":
            builder.artifacts["dataset"] = add_coco(builder, "write-coco")
            given = write_coco.places(tuple(dict(facts.splits)))
            _prepare_dataset(builder, dataclasses.replace(facts, format="coco", given=given))
        return
    _add_given(builder)
    if facts.format:
        _prepare_dataset(builder, facts)
    if builder.build.split is not None:
        _split_dataset(builder, facts, builder.build.split[1])


def _add_given(builder: PlanBuilder) -> None:
    """Add the dataset in the format in which a person gave it."""
    block, facts = builder.build.recipe.dataset, builder.build.dataset
    assert block is not None
    assert facts is not None
    root = builder.build.split[0] if builder.build.split is not None else facts.root
    parts = builder.build.dataset_parts
    source = Source(
        path=root,
        label=block.label,
        readable=block.name,
        parts=parts,
        kind="dataset",
        home=builder.build.dataset_home,
    )
    builder.artifacts["dataset"] = Input(name="dataset", source=source)


def _prepare_dataset(builder: PlanBuilder, facts: DatasetFacts) -> None:
    """Add the step that prepares the dataset: later steps read our own layout."""
    inputs = {"dataset": builder.artifacts["dataset"]}
    step = builder.add("prepare", read_step(prepare_dataset), _preparation(builder, facts), inputs)
    builder.artifacts["dataset"] = output(step, "dataset")


def _split_dataset(builder: PlanBuilder, facts: DatasetFacts, shares: Shares) -> None:
    """Add the step that splits a prepared dataset: later steps use the new splits."""
    params = _preparation(builder, facts)
    folders = params.shape == "folder"
    ((name, places),) = prepared.places(("train",), folders)
    chosen = split_dataset.Params(
        split=Split(name=name, paths=places),
        description=None if folders else prepare_dataset.describe_labels(params),
        val=shares.val,
        test=shares.test,
        seed=shares.seed,
    )
    inputs = {"dataset": builder.artifacts["dataset"]}
    step = builder.add("split", read_step(split_dataset), chosen, inputs)
    builder.artifacts["dataset"] = output(step, "dataset")


def _preparation(builder: PlanBuilder, facts: DatasetFacts) -> prepare_dataset.Params:
    return prepare_dataset.Params(
        format=facts.format,
        splits=given_splits(facts),
        classes=facts.names,
        shape=shape_of(builder.model.task),
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        sigmas=facts.sigmas,
        flip=facts.flip,
        with_keypoints=builder.model.task == "pose",
    )


def given_splits(facts: DatasetFacts) -> tuple[Split, ...]:
    """Return the splits with the names of the dataset's own format."""
    return tuple(Split(name=name, paths=paths) for name, paths in facts.given)


def add_coco(builder: PlanBuilder, stage: str) -> Input:
    """Return the dataset in COCO format: one format for every source."""
    facts = builder.build.dataset
    assert facts is not None
    params = write_coco.Params(
        splits=tuple(Split(name=name, paths=paths) for name, paths in facts.splits),
        classes=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        sigmas=facts.sigmas,
        shape=shape_of(builder.model.task),
        file=facts.file,
    )
    inputs = {"dataset": builder.artifacts["dataset"]}
    return output(builder.add(stage, read_step(write_coco), params, inputs), "dataset")


def pattern_input(workspace: str, images: str) -> Input:
    """Return the images that a pattern for calibration selects."""
    root, pattern = split_glob(images)
    source = Source(
        path=f"{workspace}/{root}",
        label=images,
        parts=(pattern,),
        kind="pictures",
        home=workspace,
    )
    return Input(name="dataset", source=source)


def add_images(builder: PlanBuilder) -> None:
    """Add the calibration set, and the few images on which conversions are compared."""
    calibration = builder.build.recipe.quantization.calibration
    if builder.model.preprocessing is None:
        return
    dataset, split, facts = builder.artifacts.get("dataset"), "train", builder.build.dataset
    if calibration is not None and calibration.images is not None:
        dataset, split = pattern_input(builder.workspace, calibration.images), calibration.images
        places: tuple[str, ...] = (".",)
    elif calibration is not None and calibration.split is not None:
        split = calibration.split
        places = (facts.split(split) if facts else None) or ()
    else:
        places = (facts.split(split) if facts else None) or ()
    if dataset is None or not places:
        return
    _prepare_images(builder, "samples", dataset, split, places, _SAMPLES, 0)
    if calibration is not None and builder.model.quantization.scheme in CALIBRATED:
        builder.artifacts["calibrated-from"] = dataset
        _prepare_images(
            builder, "calibration", dataset, split, places, calibration.count, calibration.seed
        )


def _prepare_images(
    builder: PlanBuilder,
    stage: str,
    dataset: Input,
    split: str,
    places: tuple[str, ...],
    count: int,
    seed: int,
) -> None:
    frame = builder.model.preprocessing
    assert frame is not None
    params = prepare_pictures.Params(
        split=Split(name=split, paths=places),
        count=count,
        seed=seed,
        preprocessing=frame,
    )
    definition = read_step(prepare_pictures)
    step = builder.add(stage, definition, params, {"dataset": dataset})
    builder.artifacts[stage] = output(step, Format.PICTURES)


def plan_dataset(build: Build, workspace: str) -> tuple[tuple[Step, ...], Input | None]:
    """Return the steps that make a build's dataset, and the dataset; None without one."""
    builder = PlanBuilder(build, workspace, HostFacts(cpu=""))
    add_dataset(builder)
    return tuple(builder.steps), builder.artifacts.get("dataset")


def plan_inspection(build: Build, workspace: str) -> tuple[tuple[Step, ...], Input | None]:
    """Return the same for an inspection, with data that `prepare_dataset` would read as it was
    given.
    """
    if build.dataset is None or not build.dataset.format:
        return plan_dataset(build, workspace)
    builder = PlanBuilder(build, workspace, HostFacts(cpu=""))
    _add_given(builder)
    return (), builder.artifacts["dataset"]
