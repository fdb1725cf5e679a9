"""Cross-checks of one build before any work: mistakes that no single value shows."""

from collections.abc import Mapping

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.export_batch import check_takes_batch
from buildsys.authoring.recipes.families import network
from buildsys.authoring.recipes.firmware_checks import check_decoder, check_firmware
from buildsys.authoring.recipes.gates import check_gates
from buildsys.authoring.recipes.given_checks import check_given
from buildsys.authoring.recipes.model import least_opset, model_spec
from buildsys.authoring.recipes.pipelines import is_finished, made_on_the_way
from buildsys.authoring.recipes.recipe import (
    CALIBRATED,
    LARGEST_SIDE,
    USUAL_COUNT,
    Calibration,
    Recipe,
    SourceModel,
)
from buildsys.authoring.recipes.sources import check_converter, check_source
from buildsys.authoring.step_settings import TrainSettings, is_quantization_aware, validates
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.authoring.targets.lookup import Boards
from buildsys.authoring.targets.target import Target
from buildsys.errors import Diagnostic
from buildsys.registry import find_step
from buildsys.spec import GRID, Family, Format
from buildsys.steps.lib.heads.branches import usual
from buildsys.steps.lib.heads.outputs import IN_PIXELS
from buildsys.text import did_you_mean

_OPSETS = (11, 20)
"""Opsets that torch's exporter writes and the converters read."""


def check(build: Build, locate: Locate, index: int, boards: Boards) -> list[Diagnostic]:
    """Return every mistake in the combination, each at the line that should change.

    A check whose basis has a reported mistake is skipped: one mistake, one message.
    """
    problems = check_source(build, locate)
    problems += check_given(build, locate, index) if not _has_error(problems) else []
    problems += _check_settings(build, locate)
    problems += _check_pipeline(build, locate, index)
    problems += [] if _has_error(problems) else _warn_shared_scale(build, locate, index)
    problems += check_takes_batch(build, locate)
    if build.archive is not None and build.dataset is None:
        return [
            *problems,
            _missing_archive(build, locate),
        ]  # the other checks run once the file exists
    problems += _check_data(build, locate)
    problems += check_decoder(build, locate, index, boards)
    if not _has_error(problems):
        problems += check_firmware(build, locate, index, boards)
        problems += check_gates(build, locate)
    if build.waiting_for:
        problems.append(_missing_weights(build, locate))
    return problems + check_converter(build, locate) + _check_calibration_images(build, locate)


def _has_error(problems: list[Diagnostic]) -> bool:
    """Return whether later checks would report a mistake twice; after a warning they still run."""
    return any(problem.is_error for problem in problems)


def _missing_archive(build: Build, locate: Locate) -> Diagnostic:
    assert build.archive is not None
    message = f"{build.archive.url} has not been fetched yet"
    hint = "a build fetches it; `buildsys sync` fetches it ahead of time"
    return locate(("dataset", "url"), message, hint, severity="warning")


def _missing_weights(build: Build, locate: Locate) -> Diagnostic:
    message = f"{build.waiting_for} does not exist; the build waits for it"
    hint = "put the file there; its digest is checked"
    at = ("source", "weights", "path")
    return locate(at, message, hint, severity="warning")


def _check_settings(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check numbers of `train` and `export` that no tool accepts, and settings of other tasks."""
    recipe, train = build.recipe, build.train
    problems = check_task(recipe, train, locate)
    if train is not None:
        problems += check_training(vars(train), "size" in (recipe.train or {}), locate)
        problems += check_step_settings(recipe.source, train, locate)
    problems += _check_network(build, locate)
    return problems + _check_opset(build, locate)


def _check_opset(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check the opset of the exported file against the exporter, the readers and int8."""
    if build.export is None:
        return []
    opset, least = build.export.opset, least_opset(build)
    if not _OPSETS[0] <= opset <= _OPSETS[1]:
        message = f"`opset` must be from {_OPSETS[0]} to {_OPSETS[1]}, not {opset}"
    elif opset < least:
        message = f"`opset` must be at least {least} for int8 on {build.target.name}, not {opset}"
    else:
        return []
    return [locate(("export", "opset"), message)]


def _check_network(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check settings and branches that this network of its family does not support."""
    family, name = network(build.recipe.source.family), build.architecture
    if family is None:
        return []
    problems = []
    found = family.training_problem(name, vars(build.train)) if build.train is not None else None
    if found is not None:
        problems.append(locate(("train", *found.key), found.message, found.hint, key=True))
    problems += _check_head(build, family, locate)
    branches = family.branches_of(name)
    if build.asked_branch and build.asked_branch not in branches:
        message = f"{name or 'the network'} has no {build.asked_branch} branch"
        hint = f"leave `branch` out; it has {' and '.join(branches)} alone"
        problems.append(locate(("export", "branch"), message, hint))
    return problems


def _check_head(build: Build, family: Family, locate: Locate) -> list[Diagnostic]:
    """Check that networks for the recipe's task are exported with `export.head`."""
    task, asked = build.recipe.source.task, build.asked_head
    tasks = family.tasks_of_head(asked)
    if not asked or task is None or task in tasks:
        return []
    message = f"`head: {asked}` is for task {' and '.join(tasks)}, not {task}"
    known = [
        word for word in family.heads_for(build.architecture) if task in family.tasks_of_head(word)
    ]
    hint = f"remove `head`, or write one of: {', '.join(known)}"
    return [locate(("export", "head"), message, hint)]


def _warn_shared_scale(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    """Warn about one int8 output that holds pixels and scores: all its values share one scale."""
    recipe, model = build.recipe, model_spec(build)
    if recipe.quantization.scheme != "int8" or usual(model.head) not in IN_PIXELS:
        return []
    makes_tflite = Format.TFLITE in made_on_the_way(build.target, recipe)
    if model.preprocessing is None or model.task == "classify" or not makes_tflite:
        return []
    message = (
        "one int8 output would hold boxes in pixels and scores from 0 to 1: one scale for both leaves"
        " the scores too few steps, and the build is rejected"
    )
    at: KeyPath = ("source", "weights", "path")
    hint = "give the checkpoint, whose outputs are exported apart, or an export with boxes and scores apart"
    if build.contract is not None and build.contract.head:
        at = ("firmware",) if recipe.firmware else ("targets", index)
        hint = f"firmware {build.contract.name} decodes this head: choose another firmware"
    elif build.asked_head:
        at, hint = ("export", "head"), "remove `head`"
    return [locate(at, message, hint, severity="warning")]


def check_step_settings(
    source: SourceModel, train: TrainSettings, locate: Locate
) -> list[Diagnostic]:
    """Return the mistakes that the training step itself finds in its settings."""
    step = find_step("train", source.family)
    if step is None or step.spec.check_settings is None:
        return []
    return [
        locate(
            ("train", *problem.key),
            problem.message,
            problem.hint or did_you_mean(problem.word, problem.known),
            key=problem.at_key,
        )
        for problem in step.spec.check_settings(train, source.task or "")
    ]


def check_training(train: Mapping[str, object], has_size: bool, locate: Locate) -> list[Diagnostic]:
    """Check each number of the `train` block; `has_size`: its `size` is written in it."""
    problems = []
    ranges = (
        ("epochs", 1, 10**6),
        ("batch", 1, 2**16),
        ("seed", 0, 2**32 - 1),
        ("threads", 1, 2**12),
        ("mosaic", 0, 1),
        ("flip", 0, 1),
        ("scale", 0, 1),
    )
    for name, low, high in ranges:
        value = train.get(name)
        if isinstance(value, int | float) and not low <= value <= high:
            shown = value if isinstance(value, int) else f"{value:g}"
            problems.append(
                locate(("train", name), f"`{name}` must be from {low} to {high}, not {shown}")
            )
    rate = train.get("learning_rate")
    if isinstance(rate, int | float) and not 0 < rate < 1:
        message = f"`learning_rate` must be between 0 and 1, not {rate:g}"
        problems.append(locate(("train", "learning_rate"), message, "for example 0.001"))
    size = train.get("size")
    if not isinstance(size, int):
        return problems
    if has_size and (size < GRID or size % GRID):
        near = max(GRID, round(size / GRID) * GRID)
        message = f"`size` {size} is not a multiple of {GRID}"
        problems.append(locate(("train", "size"), message, f"the nearest is {near}"))
    elif size > LARGEST_SIDE:
        message = f"`size` {size} is more than {LARGEST_SIDE} pixels"
        problems.append(locate(("train", "size"), message))
    return problems


def check_task(recipe: Recipe, train: TrainSettings | None, locate: Locate) -> list[Diagnostic]:
    """Check for settings that are for other tasks only."""
    task = recipe.source.task
    problems = []
    aware = is_quantization_aware(train) and train.quantization_aware != "no"
    if aware and task not in ("detect", "pose"):
        message = f"`quantization_aware` supports tasks detect and pose, not {task}"
        problems.append(locate(("train", "quantization_aware"), message, "remove it"))
    if recipe.input is not None and recipe.input.resize == "center-crop" and task != "classify":
        message = (
            "`resize: center-crop` is for task classify only: it would cut off objects at the edge"
        )
        problems.append(locate(("input", "resize"), message, "remove `resize`"))
    return problems


def _check_pipeline(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    recipe = build.recipe
    if is_finished(recipe):
        return []  # a finished file: planning starts where its format is consumed
    problems = check_scheme(recipe, build.target, locate, index)
    return problems or [
        *check_calibrated(recipe, build.calibration_images, locate),
        *_check_unquantized(recipe, build.target, locate),
        *_check_io(recipe, build.target, locate),
    ]


def check_scheme(recipe: Recipe, board: Target, locate: Locate, index: int) -> list[Diagnostic]:
    """Check that the target has a pipeline for the scheme."""
    quantization = recipe.quantization
    if quantization.scheme in board.pipelines:
        return []
    known = "there are: " + ", ".join(sorted(board.pipelines))
    if "scheme" in quantization.model_fields_set:
        message = f"{board.name} has no pipeline for scheme {quantization.scheme}"
        return [locate(("quantization", "scheme"), message, known)]
    message = f"{board.name} has no pipeline for float32, the default where no scheme is written"
    hint = f"write `quantization: {{scheme: …}}`; {known}"
    return [locate(("targets", index), message, hint)]


def check_calibrated(recipe: Recipe, few: int | None, locate: Locate) -> list[Diagnostic]:
    """Check that a scheme that needs a representative dataset has one.

    `few`: the number of images of `train` if it is below the usual count.
    """
    quantization = recipe.quantization
    if quantization.scheme not in CALIBRATED or quantization.calibration is not None:
        return []
    message = f"{quantization.scheme} needs `calibration`: representative images"
    source = "split: train" if recipe.dataset is not None else 'images: "data/cam/**/*.jpg"'
    hint = f"calibration: {{{source}, count: {few or USUAL_COUNT}, seed: 0}}"
    return [locate(("quantization", "scheme"), message, hint)]


def _check_unquantized(recipe: Recipe, board: Target, locate: Locate) -> list[Diagnostic]:
    """Check that `unquantized` is only used for a target with int8 ONNX files."""
    quantization = recipe.quantization
    other = quantization.scheme == "int8" and "quantize_onnx" not in board.pipelines["int8"]
    if quantization.unquantized is None or not other:
        return []
    message = f"`unquantized` is for int8 ONNX files, and {board.name} takes none"
    hint = "leave it out, or write it below the target that takes one"
    return [locate(("quantization", "unquantized"), message, hint)]


def _check_io(recipe: Recipe, board: Target, locate: Locate) -> list[Diagnostic]:
    """Warn about `io: int8` where inputs and outputs stay float32: only int8 TFLite files have a
    choice.
    """
    scheme = recipe.quantization.scheme
    if recipe.quantization.io != "int8":
        return []
    if scheme != "int8":
        message = f"`io` has no effect: inputs and outputs are float32 with scheme {scheme}"
    elif Format.TFLITE not in made_on_the_way(board, recipe):
        message = "`io` has no effect: inputs and outputs of int8 ONNX files are float32"
    else:
        return []
    hint = "remove it; if other builds need it, write `io: float32` for this one"
    return [locate(("quantization", "io"), message, hint, key=True, severity="warning")]


def labelled_splits(build: Build) -> set[str]:
    """Return the given splits that a build trains on or is measured on."""
    found = {"train"} if _trains(build) else set()
    found |= {"val"} if _validates(build) else set()
    if build.recipe.evaluate.measure and build.dataset is not None:
        found.add(build.recipe.evaluate.split)
    return {"train"} if found and build.split is not None else found


def _trains(build: Build) -> bool:
    return build.recipe.train is not None and network(build.recipe.source.family) is not None


def _validates(build: Build) -> bool:
    return _trains(build) and validates(build.train) and bool(build.train.validate)


def _check_data(build: Build, locate: Locate) -> list[Diagnostic]:
    recipe, facts = build.recipe, build.dataset
    trains = _trains(build)
    if trains and facts is None:
        return [locate(("train",), "`train` needs a `dataset`", "", key=True)]
    problems: list[Diagnostic] = []
    wanted: list[tuple[KeyPath, str]] = []
    labelled = labelled_splits(build)
    if trains:
        wanted.append((("train",), "train"))
    if _validates(build):
        wanted.append((("train", "validate"), "val"))
    calibration = recipe.quantization.calibration
    if calibration is not None:
        at = ("quantization", "calibration")
        problems += check_calibration(calibration, locate)
        if not problems and calibration.split is not None:
            wanted.append(((*at, "split"), calibration.split))
    if recipe.evaluate.measure and facts is not None:
        wanted.append((("evaluate", "split"), recipe.evaluate.split))
    missing_parts = [
        part for part in build.missing_parts if part.split in {split for _, split in wanted}
    ]
    missing = [part.diagnostic for part in missing_parts if part.what == "images"]
    if missing:
        return problems + missing
    for part in build.missing_parts:
        unlabelled = part.what == "labels" and part.split in labelled
        if unlabelled or (part.what == "flip" and trains and recipe.source.task == "pose"):
            problems.append(part.diagnostic)
    for place, split in wanted:
        if facts is None:
            message = "`split` needs a `dataset`"
            problems.append(locate(place, message, "add `dataset`, or write `images`"))
        elif facts.split(split) is None:
            known = [name for name, _ in facts.splits]
            message = f"the dataset has no split `{split}`"
            hint = did_you_mean(split, known)
            if split == "val" and known == ["train"]:
                hint = "hold back some images: `dataset: {…, split: {val: 0.2, seed: 0}}`"
            problems.append(locate(place, message, hint))
    if recipe.source.task == "pose" and facts is not None and not facts.keypoints:
        message = "`task: pose` needs keypoints; the dataset has none (no `kpt_shape`)"
        problems.append(locate(("dataset",), message, "", key=True))
    return problems


def check_calibration(calibration: Calibration, locate: Locate) -> list[Diagnostic]:
    """Check that the block names exactly one set of images."""
    at = ("quantization", "calibration")
    if calibration.split is not None and calibration.images is not None:
        message = "`calibration` has both `split` and `images`"
        return [locate(at, message, "remove one of them", key=True)]
    if calibration.split is None and calibration.images is None:
        message = "`calibration` has neither `split` nor `images`"
        return [locate(at, message, "for example split: train", key=True)]
    return []


def _check_calibration_images(build: Build, locate: Locate) -> list[Diagnostic]:
    """Report a pattern that matches no image: as a warning while other files are missing too,
    otherwise as an error.
    """
    if build.no_calibration_images is None:
        return []
    message, hint = build.no_calibration_images
    at = ("quantization", "calibration", "images")
    severity = "warning" if build.waiting_for else "error"
    return [locate(at, message, hint, severity=severity)]
