"""Cross-checks of one build before any work: what each value alone cannot show to be wrong."""

from buildsys.authoring.build import Build
from buildsys.authoring.document import Path_, did_you_mean
from buildsys.authoring.model import model_spec
from buildsys.authoring.recipe import CALIBRATED
from buildsys.authoring.registry import step_module
from buildsys.authoring.validation import Locate
from buildsys.errors import Diagnostic


def check(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    """Every mistake in the combination, each at the line that should change.

    A check that rests on something already reported stays silent: one mistake, one message.
    """
    if build.waiting_for:
        return [_missing_weights(build, locate)]
    problems = _check_source(build, locate)
    problems += _check_pipeline(build, locate, index)
    problems += _check_data(build, locate)
    if not problems:
        problems += _check_firmware(build, locate, index)
    return problems


def _missing_weights(build: Build, locate: Locate) -> Diagnostic:
    message = f"{build.waiting_for} is not here; the build waits for it"
    hint = "put the file there; its digest is checked"
    at = ("source", "weights", "path")
    return locate(at, message, hint, severity="warning")


def _check_source(build: Build, locate: Locate) -> list[Diagnostic]:
    recipe, found = build.recipe, build.checkpoint
    source = recipe.source
    at = ("source",)
    if source.family == "ultralytics":
        if source.task not in ("detect", "pose"):
            what = f"task {source.task}" if source.task else "a source without `task`"
            message = f"{what} has no export step yet"
            return [locate((*at, "task"), message, "there are: detect, pose")]
        if source.architecture is None and recipe.train is not None:
            message = "`architecture` is missing here"
            return [locate(at, message, "for example yolov8n-pose", key=True)]
        if recipe.input is None:
            return [locate(at, "`input` is missing: the size of the pictures", "", key=True)]
    if source.weights.random and recipe.train is None and recipe.evaluate.measure:
        message = "random weights without `train` have no accuracy to measure"
        return [locate((*at, "weights"), message, "add `train`, or write `evaluate: none`")]
    if found is None or source.task is None or found.task == source.task:
        return []
    if recipe.train is not None and (source.task, found.task) == ("detect", "pose"):
        return []  # a pose network is a detect network with one branch more: a start for it
    message = f"`task` is {source.task}, {source.weights.path} is a {found.task} checkpoint"
    return [locate((*at, "task"), message, f"write `task: {found.task}`, or give other weights")]


def _check_pipeline(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    recipe, board = build.recipe, build.target
    quantization = recipe.quantization
    if recipe.source.family == "tflite":
        return []  # the file is as it is; the planner enters where its format is consumed
    problems = []
    if quantization.scheme not in board.pipelines:
        message = f"{board.name} has no pipeline for scheme {quantization.scheme}"
        hint = "there are: " + ", ".join(sorted(board.pipelines))
        place = ("quantization", "scheme") if recipe.quantization.model_fields_set else ()
        problems.append(locate(place or ("quantization",), message, hint))
        return problems
    for name in board.pipelines[quantization.scheme]:
        try:
            step_module(name)
        except LookupError as error:
            problems.append(locate(("targets", index), f"target {board.name}: {error}"))
    if quantization.scheme in CALIBRATED and quantization.calibration is None:
        message = f"{quantization.scheme} needs `calibration`: pictures of what the camera will see"
        hint = "calibration: {split: train, count: 100, seed: 0}"
        problems.append(locate(("quantization", "scheme"), message, hint))
    return problems


def _check_data(build: Build, locate: Locate) -> list[Diagnostic]:
    recipe, facts = build.recipe, build.dataset
    if recipe.train is not None and facts is None:
        return [locate(("train",), "`train` needs a `dataset`", "", key=True)]
    problems = []
    wanted: list[tuple[Path_, str]] = []
    if recipe.train is not None:
        wanted.append((("train",), "train"))
    calibration = recipe.quantization.calibration
    if calibration is not None:
        given = [calibration.split is not None, calibration.images is not None]
        at = ("quantization", "calibration")
        if given.count(True) != 1:
            message = "`calibration` has one of `split` and `images`"
            problems.append(locate(at, message, "split: train", key=True))
        elif calibration.split is not None:
            wanted.append(((*at, "split"), calibration.split))
    if recipe.evaluate.measure and facts is not None:
        wanted.append((("evaluate", "split"), recipe.evaluate.split))
    for place, split in wanted:
        if facts is None:
            problems.append(locate(place, f"the {split} split is of no dataset", "add `dataset`"))
        elif facts.split(split) is None:
            known = [name for name, _ in facts.splits]
            message = f"the dataset has no split `{split}`"
            problems.append(locate(place, message, did_you_mean(split, known)))
    if recipe.source.task == "pose" and facts is not None and not facts.keypoints:
        message = "`task: pose` needs keypoints; the dataset has none (no `kpt_shape`)"
        problems.append(locate(("dataset",), message, "", key=True))
    return problems


def _check_firmware(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    contract, recipe = build.contract, build.recipe
    if contract is None or recipe.source.family != "ultralytics" or recipe.input is None:
        return []
    model = model_spec(build)
    at = ("firmware",) if recipe.firmware else ("targets", index)
    label = f"{contract.name} ({contract.label})"
    if contract.task != recipe.source.task:
        message = f"{label} decodes {contract.task}, the recipe makes {recipe.source.task}"
        return [locate(at, message, "another `firmware`, or `firmware: unchecked`")]
    if getattr(build.export, "head", None) not in (None, contract.head):
        message = f"{label} decodes the {contract.head} head"
        return [locate(("export", "head"), message, "leave `head` out; the contract chooses it")]
    height, width = recipe.input.size
    if contract.square and height != width:
        message = f"{label} takes square pictures, not {height} x {width}"
        return [locate(("input", "size"), message, f"size: {max(height, width)}")]
    classes = len(model.classes)
    if contract.classes is not None and classes != contract.classes:
        message = f"{label} decodes {contract.classes} class, the data has {classes}"
        return [locate(at, message, "another `firmware`, or one class in the data")]
    if classes in contract.refused_classes:
        message = f"{label} cannot tell {classes} classes from a box output of the same width"
        return [locate(at, message, "one class more or fewer")]
    values = model.keypoints * model.keypoint_dims
    if contract.keypoint_values is not None and values != contract.keypoint_values:
        message = (
            f"{label} decodes {contract.keypoint_values} keypoint values, the data has {values}"
        )
        return [locate(at, message, "sscma-1.0-pose takes any number of keypoints")]
    if contract.keypoint_dims is not None and model.keypoint_dims != contract.keypoint_dims:
        message = f"{label} decodes {contract.keypoint_dims} values a keypoint, the data has {model.keypoint_dims}"
        return [locate(at, message, "kpt_shape: [K, 3]")]
    return []
