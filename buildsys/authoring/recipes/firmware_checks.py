"""Checks a build against its firmware contract: mistakes that only both together show."""

import contextlib
import dataclasses
from pathlib import Path

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import decoded_by, decoders, network
from buildsys.authoring.recipes.model import known_model, model_spec, strides
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.authoring.targets.contract import Contract, contract_spec
from buildsys.authoring.targets.lookup import Boards
from buildsys.errors import Diagnostic, InputError
from buildsys.spec import REG_MAX, STRIDES, Family, ModelSpec
from buildsys.steps.lib.firmware.contract_layout import Found, actual, expected
from buildsys.steps.lib.heads.branches import ONE_TO_MANY, branch_of, is_one_to_one, layout
from buildsys.steps.lib.heads.outputs import head_formulas, head_outputs

_OWN_DECODER = "you need your own decoder"
_NOT_CHECKED = "no contract is checked, and the package has no flash.json and no README.md"


def check_firmware(build: Build, locate: Locate, index: int, boards: Boards) -> list[Diagnostic]:
    """Check that the firmware decodes what the recipe makes; warns about known problems, and about
    a board that is flashed without a contract.
    """
    if build.contract is None:
        return _warn_without_contract(build, locate, index, boards)
    return _check_against(build, build.contract, locate, index)


def _warn_without_contract(
    build: Build, locate: Locate, index: int, boards: Boards
) -> list[Diagnostic]:
    """Return a warning, at the target, for a board with a firmware that no contract describes."""
    target, task = build.target, build.recipe.source.task
    if target.flash is None:
        return []
    message = f"no contract of buildsys decodes {task}: {_OWN_DECODER}"
    hint = _NOT_CHECKED
    if task is None:
        message = f"the recipe names no task, so no firmware applies: {_OWN_DECODER}"
    name = target.firmware.get(task) if task else None
    if name not in (None, "unchecked"):
        contract = boards.contract(boards.contracts[name])
        ours = dataclasses.replace(build, contract=contract)
        found = check_decoder(ours, locate, index, boards)
        found = found or _check_against(ours, contract, locate, index)
        why = next((problem.message for problem in found if problem.is_error), "")
        message = f"{why}: {_OWN_DECODER}"
        if not why:
            message = "`firmware: unchecked`: nothing checks what the firmware decodes"
            hint = f"{_NOT_CHECKED}; remove `firmware: unchecked` if the board runs {name}"
    elif fitting := [
        name
        for name, path in sorted(boards.contracts.items())
        if task is not None and _decodes(boards, path) == task
    ]:
        message = f"{target.name} names no firmware for {task}: {_OWN_DECODER}"
        hint = f"{_NOT_CHECKED}; firmware for {task}: {', '.join(fitting)}"
    return [locate(("targets", index), message, hint, severity="warning")]


def _decodes(boards: Boards, path: Path) -> str | None:
    """Return the task of a contract that the recipe does not use; None if it has a mistake."""
    with contextlib.suppress(InputError):
        return boards.contract(path).task
    return None


def _check_against(
    build: Build, contract: Contract, locate: Locate, index: int
) -> list[Diagnostic]:
    """Check a build against a contract, its own or the target's."""
    recipe = build.recipe
    if recipe.input is None:
        return []
    at: KeyPath = ("firmware",) if recipe.firmware else ("targets", index)
    label = f"{contract.name} ({contract.label})"
    if contract.task is not None and recipe.source.task not in (None, contract.task):
        message = f"{label} decodes {contract.task}, but the recipe's task is {recipe.source.task}"
        return [locate(at, message, "choose another `firmware`, or write `firmware: unchecked`")]
    problems = _check_head(build, contract, label, locate) or _check_strides(
        build, contract, label, locate, at
    )
    if problems:
        return problems
    height, width = recipe.input.size
    if contract.square and height != width:
        message = f"{label} takes square images, not {height} x {width}"
        return [locate(("input", "size"), message, f"size: {max(height, width)}")]
    warnings = _check_compiler(build, contract, locate, index)
    if network(recipe.source.family) is None and not recipe.source.classes:
        return warnings  # a step compares the file's shapes with the contract
    if known_model(build) is not None and not is_unseen(build):
        problems = _check_numbers(model_spec(build), contract, label, locate, at)
        problems = problems or _traps(contract, len(model_spec(build).classes), locate, at)
    return problems + warnings


def is_unseen(build: Build) -> bool:
    """Return whether untrained weights are missing: the data may have other classes."""
    return bool(build.waiting_for) and build.recipe.train is None


def check_decoder(build: Build, locate: Locate, index: int, boards: Boards) -> list[Diagnostic]:
    """Check that the firmware decodes a head of this family; suggests alternatives.

    Reported even beside other mistakes: no other scheme or calibration would help.
    """
    family, contract = network(build.recipe.source.family), build.contract
    if family is None or contract is None or contract.head is None:
        return []
    task = contract.task or ""
    if fits_network(contract.head, family, build.architecture, task):
        return []
    at: KeyPath = ("firmware",) if build.recipe.firmware else ("targets", index)
    label, name = f"{contract.name} ({contract.label})", build.architecture
    if layout(contract.head) in dict(family.heads).values():
        message = (
            f"{label} does not decode {name}: {_difference(contract.head, family, name, task)}"
        )
    else:
        message = (
            f"{label} decodes {decoded_by(contract.head)} networks, but the recipe has {name}, family"
            f" {build.recipe.source.family}"
        )
    return [locate(at, message, _choices(build, family, boards))]


def fits_network(head: str, family: Family, architecture: str, task: str) -> bool:
    """Return whether an architecture has a head that a contract names, in its own branch, and is
    exported with it for the task.
    """
    known = layout(head) in family.heads_for(architecture).values()
    branched = known and branch_of(head) in family.branches_of(architecture)
    return branched and _is_exported(head, family, task)


def _is_exported(head: str, family: Family, task: str) -> bool:
    words = [word for word, name in family.heads if name == layout(head)]
    return all(task in family.tasks_of_head(word) for word in words)


def _difference(head: str, family: Family, architecture: str, task: str) -> str:
    """Return what a firmware that decodes `head` would misread in a network of the same family."""
    if layout(head) in family.heads_for(architecture).values():
        if not _is_exported(head, family, task):
            return f"networks for task {task} are not exported with the {layout(head)} head"
        return f"it suppresses nothing, and the network has no {branch_of(head)} branch"
    (wanted, *_), (found, *_) = (
        head_formulas(name, "detect")
        for name in (head, next(iter(family.heads_for(architecture).values())))
    )
    bins = f"{REG_MAX} bins a side"
    return (
        f"it reads boxes of {wanted.shape[-1]} values a cell ({bins}), the network gives"
        f" {found.shape[-1]} (each side one number)"
    )


def _choices(build: Build, family: Family, boards: Boards) -> str:
    """Return contracts that decode such a network, targets without a decoder, or the user's own."""
    task = build.recipe.source.task
    found = [boards.contract(path) for path in boards.contracts.values()]
    fitting = [
        contract.name
        for contract in found
        if contract.head is not None
        and contract.task == task
        and fits_network(contract.head, family, build.architecture, task or "")
    ]
    open_to_all = []
    for name in sorted(boards.targets):
        target = boards.board(name).target
        bound = target.firmware.get(task) if task else None
        heading = {contract.name: contract.head for contract in found}.get(bound or "")
        if heading is None and build.recipe.quantization.scheme in target.pipelines:
            open_to_all.append(name)
    known = f"firmware: {', '.join(fitting)}" if fitting else "no known firmware decodes it"
    elsewhere = f"; a target that fits: {', '.join(open_to_all)}" if open_to_all else ""
    return f"{known}; `firmware: unchecked` where the decoder is yours{elsewhere}"


def _check_head(build: Build, contract: Contract, label: str, locate: Locate) -> list[Diagnostic]:
    """Check that the firmware decodes the requested head, or the head of a given file."""
    family, decoder = network(build.recipe.source.family), build.recipe.source.decoder
    heads = family.heads_for(build.architecture) if family else {}
    asked = heads.get(build.asked_head)
    at: KeyPath = ("export", "head")
    hint = "remove `head`: the contract chooses it"
    if family is None and decoder != "none":
        asked, at = decoders()[decoder], ("source", "decoder")
        hint = f"give a file with the {contract.head} head, choose another `firmware`, or write `firmware: unchecked`"
    if contract.head is None:
        return []
    if is_one_to_one(contract.head) and build.asked_branch == ONE_TO_MANY:
        message = f"{label} does not suppress overlapping boxes, so it decodes a one-to-one branch"
        return [locate(("export", "branch"), message, "remove `branch`: the contract chooses it")]
    if asked in (None, layout(contract.head), contract.head):
        return []
    message = f"{label} decodes the {contract.head} head, not {asked}"
    layouts = _layouts(build, contract, asked)
    return [locate(at, f"{message}; {layouts}" if layouts else message, hint)]


def _check_strides(
    build: Build, contract: Contract, label: str, locate: Locate, at: KeyPath
) -> list[Diagnostic]:
    """Check that a network has no more grids than firmware decodes."""
    found = strides(build)
    if contract.head is None or found == STRIDES:
        return []
    message = (
        f"{label} decodes strides {', '.join(map(str, STRIDES))}, but the network has"
        f" {', '.join(map(str, found))}"
    )
    hint = "use an architecture without p2 and p6, or write `firmware: unchecked` if you have your own decoder"
    return [locate(at, message, hint)]


def _layouts(build: Build, contract: Contract, asked: str) -> str:
    """Return the expected and the actual outputs as text."""
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
    """Check the network's classes and keypoints against those that the firmware takes."""
    classes = len(model.classes)
    if contract.classes is not None and classes != contract.classes:
        message = f"{label} decodes {contract.classes} class, but the data has {classes}"
        return [locate(at, message, "choose another `firmware`, or use data with one class")]
    if classes in contract.refused_classes:
        message = f"{label} cannot distinguish scores of {classes} classes from a box output, which has the same width"
        return [locate(at, message, "use one class more or fewer")]
    values = model.keypoints * model.keypoint_dims
    if contract.keypoint_values is not None and values != contract.keypoint_values:
        message = (
            f"{label} decodes {contract.keypoint_values} keypoint values, but the data has {values}"
        )
        return [locate(at, message, "sscma-1.0-pose takes any number of keypoints")]
    if contract.keypoint_dims is not None and model.keypoint_dims != contract.keypoint_dims:
        message = f"{label} decodes {contract.keypoint_dims} values for each keypoint, but the data has {model.keypoint_dims}"
        return [locate(at, message, "kpt_shape: [K, 3]")]
    return []


def _traps(contract: Contract, classes: int, locate: Locate, at: KeyPath) -> list[Diagnostic]:
    """Return known problems of the firmware as warnings."""
    hint = "this contract was not verified" if not contract.verified else ""
    return [
        locate(at, f"{contract.name}: {trap.text}", hint, severity="warning")
        for trap in contract.traps
        if trap.classes in (None, classes)
    ]


def _check_compiler(
    build: Build, contract: Contract, locate: Locate, index: int
) -> list[Diagnostic]:
    """Return a warning for a Vela version that was not tried on this firmware."""
    known = contract.compilers.get("vela", ())
    if build.vela is None or not known or build.vela.version in known:
        return []
    message = f"{contract.label} is not known to run models of Vela {build.vela.version}"
    at: KeyPath = ("targets", index)
    hint = "known versions: " + ", ".join(known)
    return [locate(at, message, hint, severity="warning")]
