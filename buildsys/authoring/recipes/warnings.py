"""Warnings about a build: facts that are not mistakes."""

import os

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.firmware_checks import is_unseen
from buildsys.authoring.recipes.gates import absent_classes, warn_absent
from buildsys.authoring.recipes.model import model_fits, model_spec
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.text import count_text, describe_unmeasured, first_of

_SHOWN = 5


def find_warnings(build: Build, locate: Locate) -> list[Diagnostic]:
    """Return warnings: weights that get lost, missing data, omitted annotations, a class too many."""
    return [
        *_weights_of_a_package(build, locate),
        *_missing_data(build, locate),
        *_grouping_class(build, locate),
        *_omitted_crowds(build, locate),
    ]


def _omitted_crowds(build: Build, locate: Locate) -> list[Diagnostic]:
    return [
        locate(
            ("dataset", "splits", split, "annotations"),
            f"annotations of crowds (`iscrowd: 1`) are left out: {count}",
            severity="warning",
        )
        for split, count in (build.dataset.crowds if build.dataset else ())
    ]


def _grouping_class(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about a class of a COCO dataset that only groups the others."""
    facts = build.dataset
    if facts is None or facts.group is None:
        return []
    message = f"{facts.group.message}, but becomes a class of the network"
    at = ("dataset", "splits", facts.given[0][0], "annotations")
    return [locate(at, message, facts.group.hint, severity="warning")]


def _weights_of_a_package(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about weights in build/: they are made by a build, and are lost with the folder."""
    path = build.recipe.source.weights.path
    if path is None or not os.path.normpath(path).startswith(f"build{os.sep}"):
        return []
    message = f"{path} is in build/, which can be deleted at any time; this build then waits for it"
    hint = f"copy it to weights/, and write {{path: weights/{os.path.basename(path)}, …}}"
    return [locate(("source", "weights", "path"), message, hint, severity="warning")]


def _missing_data(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about a dataset's folder that is known only from its record; an archive is fetched."""
    block = build.recipe.dataset
    if block is None or build.dataset is None or build.archive or build.generator is not None:
        return []
    root = build.split[0] if build.split is not None else build.dataset.root
    if not root or os.path.isdir(root):
        return []
    message = f"{block.name} does not exist; its facts come from buildsys.lock"
    hint = "built results are restored from the store; steps that read it wait"
    return [locate(("dataset",), message, hint, key=True, severity="warning")]


def check_count(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about a `count` of calibration images above the number that exists."""
    calibration, number = build.recipe.quantization.calibration, build.calibration_images
    if calibration is None or number is None:
        return []
    where = f"split {calibration.split}" if calibration.split else calibration.images
    only = count_text(number, "image")
    message = f"`count` is {calibration.count}, but {where} has only {only}"
    at = ("quantization", "calibration", "count")
    hint = f"calibration uses the images that exist: write {number}, or add images"
    return [locate(at, message, hint, severity="warning")]


def check_measured(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about a requested accuracy that is not measured because the labels have other classes,
    and about classes without an object.

    With gates on other classes it is an error, see check_gates.
    """
    evaluate, facts = build.recipe.evaluate, build.dataset
    if facts is None or not evaluate.measure or is_unseen(build):
        return []
    model = model_spec(build)
    if not model.classes or model_fits(model, facts):
        return _unmeasured_classes(build, locate)
    if "split" not in evaluate.model_fields_set or evaluate.gates:
        return []
    has, given = (
        _counted(len(model.classes), model.keypoints),
        _counted(len(facts.names), facts.keypoints),
    )
    if has == given:
        has, given = first_of(model.classes, _SHOWN), first_of(facts.names, _SHOWN)
    message = f"accuracy is not measured: the network has {has}, but the dataset {given}"
    hint = "use a dataset with labels of the network's classes, or remove `evaluate`"
    return [locate(("evaluate", "split"), message, hint, key=True, severity="warning")]


def _unmeasured_classes(build: Build, locate: Locate) -> list[Diagnostic]:
    """Warn about classes without an object in the split that accuracy is measured on, and about
    gates on them.
    """
    evaluate, block = build.recipe.evaluate, build.recipe.dataset
    split, absent = evaluate.split, absent_classes(build)
    if block is None or not absent:
        return []
    in_file = block.splits is not None
    at: KeyPath = ("dataset", "splits", split, "annotations") if in_file else ("dataset",)
    message, hint = describe_unmeasured(split, absent), "add images of every class to this split"
    found = [locate(at, message, hint, key=not in_file, severity="warning")]
    for name in evaluate.gates:
        found += warn_absent(name, ("evaluate", "gates", name), build, locate, key=True)
    return found


def _counted(classes: int, keypoints: int) -> str:
    points = f" with {count_text(keypoints, 'keypoint')}" if keypoints else ""
    return f"{classes} {'class' if classes == 1 else 'classes'}{points}"
