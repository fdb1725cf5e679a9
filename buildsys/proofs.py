"""What hangs beside the chain: measurements, and the verdicts that may reject the build. Pure."""

from buildsys.authoring.model import model_fits
from buildsys.authoring.recipe import CALIBRATED
from buildsys.authoring.registry import find_step, step_module
from buildsys.blueprint import Blueprint, output
from buildsys.graph import Input
from buildsys.spec import Format
from buildsys.steps.bind_outputs import contract_params

_NPU_NOTE = (
    "Not verified: the arithmetic of the NPU. Accuracy was measured on the TFLite file before Vela;"
    " no Ethos-U runs here."
)
_FLASHED = (Format.VELA, Format.TFLITE)


def evaluate(blue: Blueprint, name: str, model: Input) -> None:
    """The accuracy of one model file, where there is something to measure it on."""
    recipe, facts = blue.build.recipe, blue.build.dataset
    kind = Format.CHECKPOINT if name == "start" else name
    module = find_step("evaluate", str(kind))
    key = f"metrics-{name}"
    places = facts.split(recipe.evaluate.split) if facts else None
    if (
        module is None or key in blue.made or not recipe.evaluate.measure
        or not places or not blue.model.outputs or not model_fits(blue.model, facts)
    ):  # fmt: skip
        return
    params = module.Params(
        split=step_module("prepare_pictures").Split(name=recipe.evaluate.split, paths=places),
        classes=blue.model.classes,
        keypoints=blue.model.keypoints,
        keypoint_dims=blue.model.keypoint_dims,
        sigmas=facts.sigmas if facts and blue.model.keypoints else (),
        head=blue.model.head,
        preprocessing=blue.model.preprocessing,
        reference_kernels=kind == Format.TFLITE and blue.model.quantization.scheme in CALIBRATED,
    )
    inputs = {kind: model, "dataset": blue.made["dataset"]}
    step = blue.add(f"evaluate-{name}", module, params, inputs, {Format.METRICS: False})
    blue.made[key] = output(step, Format.METRICS)


def judge_contract(blue: Blueprint) -> None:
    """Whether the firmware decodes what the file yields; before the compiler, if there is one."""
    module, params = step_module("check_contract"), contract_params(blue.model, blue.board)
    blue.judge("contract", module, params, {Format.TFLITE: blue.made[Format.TFLITE]})


def judge_file(blue: Blueprint, current: Format) -> None:
    """Everything that may reject the file that is about to be packed."""
    if current in _FLASHED:
        _judge_operators(blue, current)
        _judge_fit(blue)
    _judge_accuracy(blue)


def _judge_operators(blue: Blueprint, current: Format) -> None:
    if not blue.board.operators and not blue.board.accelerator:
        return
    module = step_module("check_operators")
    params = module.Params(
        firmware=blue.board.firmware,
        operators=blue.board.operators,
        accelerator=blue.board.accelerator,
    )
    blue.judge("operators", module, params, {current: blue.made[current]})


def _judge_fit(blue: Blueprint) -> None:
    """What the compiler planned against what the firmware has."""
    contract = blue.build.contract
    if contract is None or contract.arena_kib is None or "summary" not in blue.made:
        return
    module = step_module("fit_memory")
    params = module.Params(firmware=contract.name, arena_kib=contract.arena_kib)
    blue.judge("fit", module, params, {"summary": blue.made["summary"]})


def _judge_accuracy(blue: Blueprint) -> None:
    """The gate, over the figures of the file that ships and of what it came from."""
    gates = blue.build.recipe.evaluate.gates
    order = ("metrics-checkpoint", "metrics-onnx", "metrics-tflite")
    measured = [blue.made[key] for key in order if key in blue.made]
    if not gates or not measured:
        return
    module = step_module("gate")
    thresholds = tuple(
        module.Threshold(metric=name, min=gate.min, max_drop=gate.max_drop)
        for name, gate in sorted(gates.items())
    )
    inputs = {"metrics": measured[-1], "baseline": measured[0]}
    blue.judge("gate", module, module.Params(thresholds=thresholds), inputs)


def add_proofs(blue: Blueprint) -> tuple[str, ...]:
    """Steps that no package rests on, and whose results are published beside it; their ids."""
    return ()


def notes(blue: Blueprint) -> tuple[str, ...]:
    """What stays unverified, in sentences."""
    contract, found = blue.build.contract, []
    if any(step.module == "compile_vela" for step in blue.steps):
        found.append(_NPU_NOTE)
    if contract is None and blue.build.recipe.firmware == "unchecked":
        found.append("Not verified: whether a firmware decodes this model (`firmware: unchecked`).")
    if contract is not None:
        found += [
            f"Not verified: {contract.name}'s {line} ({source})."
            for line, source, verified in contract.provenance() if not verified
        ]  # fmt: skip
        found += [f"Not verified: {note}" for note in contract.notes if not contract.verified]
    if not any(key.startswith("metrics-") for key in blue.made):
        found.append("Accuracy: not measured.")
    if blue.build.target.flash is not None or blue.build.target.vela is not None:
        found.append("Not verified: the model on the device itself; none was attached.")
    return tuple(found)
