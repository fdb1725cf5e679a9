"""A build against its firmware contract, before any work: what only both together show."""

from buildsys.authoring.build import Build
from buildsys.authoring.contract import Contract, contract_spec
from buildsys.authoring.document import KeyPath
from buildsys.authoring.model import known_model, model_spec
from buildsys.authoring.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.spec import ModelSpec, head_outputs
from buildsys.steps._layout import Found, actual, expected


def check_firmware(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    """Whether the firmware decodes what the recipe makes; warnings for what is known to go wrong."""
    contract, recipe = build.contract, build.recipe
    if contract is None or recipe.input is None:
        return []
    at: KeyPath = ("firmware",) if recipe.firmware else ("targets", index)
    label = f"{contract.name} ({contract.label})"
    if contract.task is not None and recipe.source.task not in (None, contract.task):
        message = f"{label} decodes {contract.task}, the recipe makes {recipe.source.task}"
        return [locate(at, message, "another `firmware`, or `firmware: unchecked`")]
    problems = _check_head(build, contract, label, locate)
    if problems:
        return problems
    height, width = recipe.input.size
    if contract.square and height != width:
        message = f"{label} takes square pictures, not {height} x {width}"
        return [locate(("input", "size"), message, f"size: {max(height, width)}")]
    warnings = _check_compiler(build, contract, locate, index)
    if recipe.source.family != "ultralytics" and not recipe.source.classes:
        return warnings  # the file's own shapes are held against the contract by a step
    if known_model(build) is not None and not is_unseen(build):
        problems = _check_numbers(model_spec(build), contract, label, locate, at)
        problems = problems or _traps(contract, len(model_spec(build).classes), locate, at)
    return problems + warnings


def is_unseen(build: Build) -> bool:
    """Whether weights are used as they are and are not here yet: the data may be of other classes."""
    return bool(build.waiting_for) and build.recipe.train is None


def _check_head(build: Build, contract: Contract, label: str, locate: Locate) -> list[Diagnostic]:
    """A head that is asked for, or that a file is said to have, and that the firmware cannot read."""
    decoder = build.recipe.source.decoder
    asked = getattr(build.export, "head", None)
    at: KeyPath = ("export", "head")
    hint = "leave `head` out; the contract chooses it"
    if build.recipe.source.family != "ultralytics" and decoder != "none":
        asked, at = decoder.removeprefix("yolov8-"), ("source", "decoder")
        hint = f"a file with the {contract.head} head, another `firmware`, or `firmware: unchecked`"
    if contract.head is None or asked in (None, contract.head):
        return []
    message = f"{label} decodes the {contract.head} head, not the {asked} one"
    layouts = _layouts(build, contract, asked)
    return [locate(at, f"{message}; {layouts}" if layouts else message, hint)]


def _layouts(build: Build, contract: Contract, asked: str) -> str:
    """What the firmware decodes, and what would come, in words."""
    spec, model = contract_spec(contract), model_spec(build)
    if spec is None or model.preprocessing is None:
        return ""
    frame, classes = model.preprocessing, len(model.classes)
    wanted = expected(spec, frame.height, frame.width, classes, model.keypoints)
    if not classes:
        return f"expected {wanted}"
    outputs = head_outputs(
        asked, frame.height, frame.width, classes, model.keypoints, model.keypoint_dims
    )
    found = [Found(name=tensor.name, shape=tensor.shape) for tensor in outputs]
    return f"expected {wanted}; actual {actual(found, [contract.io] * len(found))}"


def _check_numbers(
    model: ModelSpec, contract: Contract, label: str, locate: Locate, at: KeyPath
) -> list[Diagnostic]:
    """The network's classes and keypoints against what the firmware takes."""
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


def _traps(contract: Contract, classes: int, locate: Locate, at: KeyPath) -> list[Diagnostic]:
    """What is known to go wrong there."""
    hint = "nobody verified this contract" if not contract.verified else ""
    return [
        locate(at, f"{contract.name}: {trap.text}", hint, severity="warning")
        for trap in contract.traps
        if trap.classes in (None, classes)
    ]


def _check_compiler(
    build: Build, contract: Contract, locate: Locate, index: int
) -> list[Diagnostic]:
    """A generation of the compiler whose models nobody has seen run there."""
    version, known = getattr(build.vela, "version", None), contract.compilers.get("vela", ())
    if version is None or not known or version in known:
        return []
    message = f"models of Vela {version} are not known to run on {contract.label}"
    at: KeyPath = ("targets", index)
    hint = "known are: " + ", ".join(known)
    return [locate(at, message, hint, severity="warning")]
