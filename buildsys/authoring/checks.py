"""Cross-checks of one build before any work: what each value alone cannot show to be wrong."""

import re

from buildsys.authoring.boards import Boards
from buildsys.authoring.build import Build
from buildsys.authoring.document import KeyPath, did_you_mean
from buildsys.authoring.families import network, source_format
from buildsys.authoring.firmware import check_firmware, is_unseen
from buildsys.authoring.model import known_model, model_fits, model_spec
from buildsys.authoring.pipelines import follow, is_finished
from buildsys.authoring.recipe import CALIBRATED, LARGEST_SIDE
from buildsys.authoring.registry import find_step
from buildsys.authoring.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.spec import Format
from buildsys.steps._family import Family

_TRAIN_RANGES = (
    ("epochs", 1, 10**6), ("batch", 1, 2**16), ("seed", 0, 2**32 - 1), ("threads", 1, 2**12),
    ("mosaic", 0, 1), ("flip", 0, 1), ("scale", 0, 1),
)  # fmt: skip
SIZES = ("bytes", "sram_bytes")
"""Figures of every file: its size, and the memory that Vela plans for it."""
_OPSETS = (11, 20)
"""What torch's exporter writes and the converters read."""


def check(build: Build, locate: Locate, index: int, boards: Boards) -> list[Diagnostic]:
    """Every mistake in the combination, each at the line that should change.

    A check that rests on something already reported stays silent: one mistake, one message.
    """
    problems = _check_source(build, locate)
    problems += _check_settings(build, locate)
    problems += _check_pipeline(build, locate, index)
    problems += _check_converter(build, locate)
    if build.archive is not None and build.dataset is None:
        return [*problems, _missing_archive(build, locate)]  # the rest once it is here
    problems += _check_data(build, locate)
    if not problems:
        problems += check_firmware(build, locate, index, boards)
        problems += _check_gates(build, locate)
    if build.waiting_for:
        problems.append(_missing_weights(build, locate))
    return problems + _check_pictures(build, locate)


def _missing_archive(build: Build, locate: Locate) -> Diagnostic:
    assert build.archive is not None
    message = f"{build.archive.url} is not here yet"
    hint = "a build fetches it, and so does `buildsys sync`"
    return locate(("dataset", "url"), message, hint, severity="warning")


def _missing_weights(build: Build, locate: Locate) -> Diagnostic:
    message = f"{build.waiting_for} is not here; the build waits for it"
    hint = "put the file there; its digest is checked"
    at = ("source", "weights", "path")
    return locate(at, message, hint, severity="warning")


def _check_source(build: Build, locate: Locate) -> list[Diagnostic]:
    source, at = build.recipe.source, ("source",)
    family = network(source.family)
    if family is None:
        return _check_file(build, locate)
    if source.task is None:
        message = "`task` is missing here: what the network does"
        return [locate(at, message, "there are: " + ", ".join(family.tasks), key=True)]
    if source.task not in family.tasks:
        message = f"family {source.family} has no networks for {source.task}"
        return [locate((*at, "task"), message, "there are: " + ", ".join(family.tasks))]
    return _check_network(build, family, locate) or _check_weights(build, family, locate)


def _check_network(build: Build, family: Family, locate: Locate) -> list[Diagnostic]:
    """Which network it is, as far as its weights do not say it."""
    recipe, at = build.recipe, ("source",)
    source = recipe.source
    example = f"for example {dict(family.examples)[source.task or '']}"
    made = recipe.train is not None or source.weights.random or family.nameless
    if source.architecture is None and made:
        return [locate(at, "`architecture` is missing here", example, key=True)]
    if made and not re.fullmatch(family.architectures, source.architecture or ""):
        message = f"there is no architecture `{source.architecture}`"
        return [locate((*at, "architecture"), message, example)]
    if made and family.task_of(source.architecture or "") != source.task:
        message = f"`architecture` {source.architecture} is no {source.task} network"
        return [locate((*at, "architecture"), message, example)]
    if recipe.input is None:
        return [locate(at, "`input` is missing: the size of the pictures", "", key=True)]
    if source.weights.random and recipe.train is None and recipe.evaluate.measure:
        message = "random weights without `train` have no accuracy to measure"
        return [locate((*at, "weights"), message, "add `train`, or write `evaluate: none`")]
    if recipe.train is not None and find_step("train", source.family) is None:
        message = f"networks of family {source.family} are not trained here"
        return [locate(("train",), message, "leave `train` out", key=True)]
    return []


def _check_weights(build: Build, family: Family, locate: Locate) -> list[Diagnostic]:
    """Whether the weights are of the network that the recipe names."""
    recipe, found, at = build.recipe, build.checkpoint, ("source",)
    source = recipe.source
    if known_model(build) is None and not source.classes and family.nameless:
        message = "`classes` is missing here: what the weights tell apart, in their order"
        return [locate(at, message, "classes: [person, …], or a `dataset` that says it", key=True)]
    if found is None:
        return []
    size, wanted = found.architecture, source.architecture or ""
    if family.branched:  # one size for several tasks
        size, wanted = size.split("-")[0], wanted.split("-")[0]
    if size and wanted and size != wanted:
        message = (
            f"`architecture` is {source.architecture}, {source.weights.path} is a {size} network"
        )
        hint = f"write `architecture: {found.architecture}`, or give other weights"
        return [locate((*at, "architecture"), message, hint)]
    if found.task == source.task:
        return []
    if recipe.train is not None and source.task == "detect" and found.task in family.branched:
        return []  # such a network is a detect network with one branch more: a start for it
    message = f"`task` is {source.task}, {source.weights.path} is a {found.task} checkpoint"
    return [locate((*at, "task"), message, f"write `task: {found.task}`, or give other weights")]


def _check_file(build: Build, locate: Locate) -> list[Diagnostic]:
    """A finished file: nothing trains or exports it, and converting it takes a size."""
    recipe, family = build.recipe, build.recipe.source.family
    problems = [
        locate((key,), f"`{key}` has no effect on a source of family {family}", "", key=True)
        for key in ("train", "export")
        if getattr(recipe, key) is not None
    ]
    if recipe.source.weights.random:
        message = f"random weights are no {family} file"
        problems.append(locate(("source", "weights"), message, "{path: …} or {url: …, sha256: …}"))
    if source_format(family) == Format.ONNX and recipe.input is None and _is_converted(build):
        message = "`input` is missing: the size of the pictures, which converting takes"
        problems.append(locate(("source",), message, "input: {size: 192}", key=True))
    return problems


def _is_converted(build: Build) -> bool:
    if build.recipe.quantization.scheme not in build.target.pipelines:
        return False
    legs = follow(build.target, build.recipe)
    return len(legs) > 1 or bool(legs[0].between)


def _check_converter(build: Build, locate: Locate) -> list[Diagnostic]:
    """A converter that was chosen where nothing is converted."""
    recipe, board = build.recipe, build.target
    if (
        "convert" not in recipe.model_fields_set
        or recipe.quantization.scheme not in board.pipelines
    ):
        return []
    legs = follow(board, recipe)
    made = {module.PRODUCES for leg in legs for module in (*leg.between, leg.step)}
    if Format.SAVED_MODEL in made:
        return []
    message = f"`convert` has no effect: on the way to {board.name} no ONNX is converted"
    return [locate(("convert",), message, "leave it out", key=True, severity="warning")]


def _check_settings(build: Build, locate: Locate) -> list[Diagnostic]:
    """Numbers of `train` and `export` that no tool takes, and settings of another task."""
    problems = _check_task(build, locate)
    for name, low, high in _TRAIN_RANGES if build.train is not None else ():
        value = getattr(build.train, name, low)
        if not low <= value <= high:
            problems.append(
                locate(("train", name), f"`{name}` is from {low} to {high}, not {value}")
            )
    if build.train is not None and not 0 < build.train.learning_rate < 1:
        message = f"`learning_rate` is between 0 and 1, not {build.train.learning_rate:g}"
        problems.append(locate(("train", "learning_rate"), message, "for example 0.001"))
    size = build.train.size if build.train is not None else None
    if size is not None and "size" in (build.recipe.train or {}) and (size < 32 or size % 32):
        near = max(32, round(size / 32) * 32)
        message = f"`size` {size} is not a multiple of 32"
        problems.append(locate(("train", "size"), message, f"the nearest is {near}"))
    elif size is not None and size > LARGEST_SIDE:
        message = f"`size` {size} is more than {LARGEST_SIDE} pixels"
        problems.append(locate(("train", "size"), message))
    opset = getattr(build.export, "opset", _OPSETS[0])
    if not _OPSETS[0] <= opset <= _OPSETS[1]:
        message = f"`opset` is from {_OPSETS[0]} to {_OPSETS[1]}, not {opset}"
        problems.append(locate(("export", "opset"), message))
    return problems


def _check_task(build: Build, locate: Locate) -> list[Diagnostic]:
    """Settings that make sense for other tasks alone."""
    recipe, task = build.recipe, build.recipe.source.task
    problems = []
    aware = getattr(build.train, "quantization_aware", "no")
    if aware != "no" and task not in ("detect", "pose"):
        message = f"`quantization_aware` is for detect and pose, not for {task}"
        problems.append(locate(("train", "quantization_aware"), message, "leave it out"))
    if recipe.input is not None and recipe.input.resize == "center-crop" and task != "classify":
        message = "`resize: center-crop` is for classify: objects at the edge would be cut off"
        problems.append(locate(("input", "resize"), message, "leave `resize` out"))
    return problems


def _check_pipeline(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    recipe, board = build.recipe, build.target
    quantization = recipe.quantization
    if is_finished(recipe):
        return []  # the file is as it is; the planner enters where its format is consumed
    problems: list[Diagnostic] = []
    if quantization.scheme not in board.pipelines:
        known = "there are: " + ", ".join(sorted(board.pipelines))
        if "scheme" in quantization.model_fields_set:
            message = f"{board.name} has no pipeline for scheme {quantization.scheme}"
            return [locate(("quantization", "scheme"), message, known)]
        message = (
            f"{board.name} has no pipeline for float32, the default where no scheme is written"
        )
        hint = f"write `quantization: {{scheme: …}}`; {known}"
        return [locate(("targets", index), message, hint)]
    if quantization.scheme in CALIBRATED and quantization.calibration is None:
        message = f"{quantization.scheme} needs `calibration`: pictures of what the camera will see"
        hint = "calibration: {split: train, count: 100, seed: 0}"
        problems.append(locate(("quantization", "scheme"), message, hint))
    return problems


def _check_data(build: Build, locate: Locate) -> list[Diagnostic]:
    recipe, facts = build.recipe, build.dataset
    trains = recipe.train is not None and network(recipe.source.family) is not None
    if trains and facts is None:
        return [locate(("train",), "`train` needs a `dataset`", "", key=True)]
    problems = []
    wanted: list[tuple[KeyPath, str]] = []
    if trains:
        wanted.append((("train",), "train"))
    calibration = recipe.quantization.calibration
    if calibration is not None:
        at = ("quantization", "calibration")
        if calibration.split is not None and calibration.images is not None:
            message = "`calibration` has both `split` and `images`"
            problems.append(locate(at, message, "leave one out", key=True))
        elif calibration.split is None and calibration.images is None:
            message = "`calibration` has neither `split` nor `images`"
            problems.append(locate(at, message, "for example split: train", key=True))
        elif calibration.split is not None:
            wanted.append(((*at, "split"), calibration.split))
    if recipe.evaluate.measure and facts is not None:
        wanted.append((("evaluate", "split"), recipe.evaluate.split))
    for place, split in wanted:
        if facts is None:
            message = "`split` needs a `dataset`"
            problems.append(locate(place, message, "add `dataset`, or give `images`"))
        elif facts.split(split) is None:
            known = [name for name, _ in facts.splits]
            message = f"the dataset has no split `{split}`"
            problems.append(locate(place, message, did_you_mean(split, known)))
    if recipe.source.task == "pose" and facts is not None and not facts.keypoints:
        message = "`task: pose` needs keypoints; the dataset has none (no `kpt_shape`)"
        problems.append(locate(("dataset",), message, "", key=True))
    return problems


def _check_gates(build: Build, locate: Locate) -> list[Diagnostic]:
    """Gates on figures that are measured, each with a limit."""
    recipe, facts = build.recipe, build.dataset
    at: KeyPath = ("evaluate", "gates")
    gates, task = recipe.evaluate.gates, recipe.source.task
    if not gates:
        return []
    if facts is None or not recipe.evaluate.measure:
        why = "without a `dataset`" if facts is None else "with `measure: false`"
        message = f"`gates` have nothing to go by: {why} accuracy is not measured"
        return [locate(at, message, "add `dataset`, or leave `gates` out", key=True)]
    known, every = _metrics(build)
    problems = []
    for name, gate in gates.items():
        if name not in every:
            of = f" for task {task}" if task else ""
            hint = did_you_mean(name, every) or did_you_mean("", known)
            message = f"no metric `{name}` is measured{of}"
            problems.append(locate((*at, name), message, hint, key=True))
        elif gate.min is None and gate.max_drop is None:
            message = f"`{name}` has neither `min` nor `max_drop`"
            hint = "for example {min: 0.5} or {max_drop: 0.01}"
            problems.append(locate((*at, name), message, hint, key=True))
    model = model_spec(build)
    if not problems and not is_unseen(build) and model.classes and not model_fits(model, facts):
        message = "`gates` have nothing to go by: the dataset's classes are not the model's"
        problems.append(locate(at, message, "a dataset with the model's own classes", key=True))
    unknown = model.head == "none" or network(recipe.source.family) is None
    if not problems and unknown and not model.outputs:
        message = "`gates` have nothing to go by: nobody says what the outputs mean"
        hint = "add `input`, and `decoder` and `classes` to `source`"
        problems.append(locate(at, message, hint, key=True))
    return problems


_FIGURES = {
    "detect": ("box.mAP50", "box.mAP50-95"),
    "pose": ("box.mAP50", "box.mAP50-95", "keypoints.mAP50", "keypoints.mAP50-95"),
    "segment": ("box.mAP50", "box.mAP50-95", "masks.mAP50", "masks.mAP50-95"),
    "obb": ("obb.mAP50", "obb.mAP50-95"),
    "classify": ("top1", "top5"),
}
"""What is measured of all classes together; mAP50-95 and top1 of each class, too."""


def _metrics(build: Build) -> tuple[list[str], list[str]]:
    """The figures that are measured: of all classes together, and these with those a class."""
    names = build.dataset.names if build.dataset else ()
    known = list(_FIGURES[build.recipe.source.task or "detect"])
    single = [figure for figure in known if figure.endswith(("mAP50-95", "top1"))]
    return known, [*known, *(f"{figure}.{name}" for figure in single for name in names)]


def check_selection(metric: str, key: str, build: Build, locate: Locate) -> list[Diagnostic]:
    """Whether the figure that decides between variants is measured at all."""
    _, every = _metrics(build)
    at: KeyPath = ("select", key)
    if metric in SIZES:
        return []
    if metric not in every:
        hint = did_you_mean(metric, [*every, *SIZES])
        return [locate(at, f"`{metric}` is no figure that is measured", hint)]
    if build.dataset is None or not build.recipe.evaluate.measure:
        message = "accuracy is not measured here: there is nothing to go by"
        return [locate(at, message, "add `dataset`, or choose by " + " or ".join(SIZES))]
    return []


def _check_pictures(build: Build, locate: Locate) -> list[Diagnostic]:
    """A pattern that matches nothing; while weights are waited for, pictures may be too."""
    if build.pictures_found or build.recipe.quantization.calibration is None:
        return []
    message = f"no file matches {build.recipe.quantization.calibration.images}"
    at = ("quantization", "calibration", "images")
    hint = "it is looked for from the workspace's root"
    severity = "warning" if build.waiting_for else "error"
    return [locate(at, message, hint, severity=severity)]
