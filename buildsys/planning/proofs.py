"""Measurements and verdicts beside the chain of conversions. Pure."""

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import source_format, step_for
from buildsys.authoring.recipes.model import model_fits, on_reference_kernels
from buildsys.authoring.recipes.pipelines import made_on_the_way
from buildsys.authoring.targets.contract import Contract
from buildsys.graph import Input
from buildsys.planning import ladder
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import output
from buildsys.registry import find_step, get_step, read_step
from buildsys.spec import READ_AS, AnyFormat, Format, Intermediate
from buildsys.steps import (
    check_contract,
    check_operators,
    check_outputs,
    check_overlap,
    draw_models,
    examine_tflite,
    fit_memory,
    gate,
    load_firmware,
)
from buildsys.steps.bind_outputs import bound_order, contract_params
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.heads.branches import branch_of, layout, of_branch
from buildsys.steps.lib.heads.given_outputs import CLASSIFIED
from buildsys.steps.lib.metrics import accuracy

_NPU_NOTE = (
    "Not verified: the arithmetic of the NPU. Accuracy was measured on the TFLite file before Vela;"
    " no Ethos-U was run."
)
_FLASHED = (Format.VELA, Format.TFLITE)
_REAL = (Format.ONNX, Intermediate.FLOAT_TFLITE)
"""Floating-point forms of the model for drawing detections; the first one available is used."""
_TIMED = (Format.ONNX, Format.QUANTIZED_ONNX, Format.TFLITE)
"""Formats that run on this machine, in the order in which a build makes them."""
_EXAMINED = (Format.TFLITE, Format.QUANTIZED_ONNX)
"""Formats whose outputs a lower precision may have destroyed."""


def evaluate(builder: PlanBuilder, name: str, model: Input) -> None:
    """Add the accuracy of one model file, if there is something to measure it on."""
    recipe, facts = builder.build.recipe, builder.build.dataset
    kind = Format.CHECKPOINT if name == "start" else READ_AS.get(name, name)
    definition = step_for("evaluate", kind, builder.model.family)
    key = f"metrics-{name}"
    places = facts.split(recipe.evaluate.split) if facts else None
    if (
        definition is None
        or kind == Format.ENGINE
        or key in builder.artifacts
        or not recipe.evaluate.measure
        or not places
        or not builder.model.outputs
        or facts is None
        or not model_fits(builder.model, facts)
    ):
        return
    params = make_reading(builder, kind, places)
    inputs = {kind: model, "dataset": builder.artifacts["dataset"]}
    if name in _EXAMINED and "verdict-signal" in builder.artifacts:
        inputs["verdict"] = builder.artifacts[
            "verdict-signal"
        ]  # measured only if the signal check passed
    step = builder.add(f"evaluate-{name}", definition, params, inputs)
    builder.artifacts[key] = output(step, Format.METRICS)


def make_reading(builder: PlanBuilder, kind: str, places: tuple[str, ...]) -> accuracy.Params:
    """Return how a file of this kind is run and decoded, and on which images.

    A checkpoint is measured with its branch's own decoded head, whatever is exported: once for all
    targets.
    """
    facts, model = builder.build.dataset, builder.model
    exported = kind != Format.CHECKPOINT
    split = builder.build.recipe.evaluate.split
    assert model.preprocessing is not None  # known outputs have a size
    return accuracy.Params(
        split=Split(name=split, paths=places),
        classes=model.classes,
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        sigmas=facts.sigmas if facts and model.keypoints else (),
        head=model.head if exported else of_branch("decoded", branch_of(model.head)),
        preprocessing=model.preprocessing,
        reference_kernels=kind == Format.TFLITE and on_reference_kernels(builder.build),
        task=model.task,
    )


def judge_given(builder: PlanBuilder, kind: Format) -> None:
    """Check a given file's outputs when it is opened, as far as they are unknown before, and
    whether a classifier gives probabilities.

    Of a file whose outputs are reordered for a firmware, the contract's check decides.
    """
    model, board, given = builder.model, builder.board, builder.build.given
    reordered = kind == Format.TFLITE and bool(bound_order(board))
    known = given is not None and not _is_open(given.outputs) and not _may_be_pixels(builder, kind)
    known = known and tuple(tensor.name for tensor in model.outputs) != CLASSIFIED[0]
    if known or reordered or not model.outputs or model.preprocessing is None:
        return
    build = builder.build
    params = check_outputs.Params(
        head=model.head,
        task=model.task,
        classes=len(model.classes),
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        preprocessing=model.preprocessing,
        order=tuple(tensor.name for tensor in model.outputs),
        by_order=Format.SAVED_MODEL in made_on_the_way(build.target, build.recipe),
        fetched=given is None,
    )
    inputs: dict[str, Input] = {kind: builder.artifacts[kind]}
    builder.judge("outputs", read_step(check_outputs), params, inputs)


def _is_open(outputs: tuple[Edge, ...]) -> bool:
    """Return whether an axis other than the batch is open."""
    return any(edge.shape is None or None in edge.shape[1:] for edge in outputs)


def _may_be_pixels(builder: PlanBuilder, kind: Format) -> bool:
    """Return whether a file's keypoints may be pixels beside boxes as shares of the image."""
    model = builder.model
    return kind == Format.TFLITE and layout(model.head) == "normalized" and bool(model.keypoints)


def judge_signal(builder: PlanBuilder) -> None:
    """Add the signal check of a quantized file, which takes a second, before any accuracy."""
    model = builder.model
    made_here = source_format(model.family) != Format.TFLITE
    params = examine_tflite.Params(
        classes=len(model.classes),
        trained=model.trained,
        head=model.head,
        described=bool(model.outputs) or builder.board.contract is not None or made_here,
    )
    inputs: dict[str, Input] = {Format.TFLITE: builder.artifacts[Format.TFLITE]}
    inputs |= {"pictures": builder.artifacts["samples"]} if "samples" in builder.artifacts else {}
    builder.judge("signal", read_step(examine_tflite), params, inputs)


def judge_contract(builder: PlanBuilder) -> None:
    """Check whether the firmware decodes the file's outputs, before a compiler runs."""
    params = contract_params(builder.model, builder.board)
    inputs: dict[str, Input] = {Format.TFLITE: builder.artifacts[Format.TFLITE]}
    builder.judge("contract", read_step(check_contract), params, inputs)


def judge_file(builder: PlanBuilder, current: AnyFormat) -> None:
    """Add everything that may reject the file to be packed, the fastest first."""
    ladder.judge_parity(builder)
    if current in _FLASHED:
        _judge_operators(builder, current)
        _judge_fit(builder, current)
    _judge_accuracy(builder)


def _judge_operators(builder: PlanBuilder, current: AnyFormat) -> None:
    if not builder.board.operators and not builder.board.accelerator:
        return
    params = check_operators.Params(
        firmware=builder.board.firmware,
        operators=builder.board.operators,
        accelerator=builder.board.accelerator,
    )
    inputs: dict[str, Input] = {current: builder.artifacts[current]}
    builder.judge("operators", read_step(check_operators), params, inputs)


def _judge_fit(builder: PlanBuilder, current: AnyFormat) -> None:
    """Compare what the file needs of arena and flash with what the firmware has."""
    contract, frame = builder.build.contract, builder.model.preprocessing
    if contract is None or (contract.arena_kib is None and builder.board.slot is None):
        return
    params = fit_memory.Params(
        firmware=contract.name,
        arena_kib=contract.arena_kib or 0,
        slot=builder.board.slot,
        side=max(frame.height, frame.width) if frame else 0,
    )
    inputs: dict[str, Input] = {current: builder.artifacts[current]}
    figures = next((name for name in ("summary", "arena") if name in builder.artifacts), None)
    inputs |= {figures: builder.artifacts[figures]} if figures else {}
    builder.judge("fit", read_step(fit_memory), params, inputs)


def _judge_accuracy(builder: PlanBuilder) -> None:
    """Add the gate on the figures of the shipped file and of the file that it came from."""
    gates = builder.build.recipe.evaluate.gates
    order = ("metrics-checkpoint", "metrics-onnx", "metrics-quantized-onnx", "metrics-tflite")
    measured = [builder.artifacts[key] for key in order if key in builder.artifacts]
    if not gates or not measured:
        return
    thresholds = tuple(
        gate.Threshold(metric=name, min=limit.min, max_drop=limit.max_drop)
        for name, limit in sorted(gates.items())
    )
    inputs = {"metrics": measured[-1], "baseline": measured[0]}
    builder.judge("gate", read_step(gate), gate.Params(thresholds=thresholds), inputs)


def add_proofs(builder: PlanBuilder) -> tuple[str, ...]:
    """Add steps that no package depends on, with results published beside it; returns their ids."""
    return (
        *_check_overlap(builder),
        *_draw(builder),
        *_load_on_firmware(builder),
        *_measure_latency(builder),
    )


def _draw(builder: PlanBuilder) -> tuple[str, ...]:
    """Draw detections of the checkpoint, the float model and the shipped file on the same
    images.
    """
    facts, split = builder.build.dataset, builder.build.recipe.evaluate.split
    places = facts.split(split) if facts is not None else None
    real = next((kind for kind in _REAL if kind in builder.artifacts), None)
    if not places or real is None or "metrics-tflite" not in builder.artifacts:
        return ()
    reading = make_reading(builder, Format.TFLITE, places)
    params = draw_models.Params(split=reading.split, reading=reading)
    inputs = {name: builder.artifacts[name] for name in (real, Format.TFLITE, "dataset")}
    recorded = {
        Format.CHECKPOINT: Format.CHECKPOINT,
        "recording": "recording-checkpoint",
        "pictures": "probe",
    }
    if builder.artifacts.keys() >= set(recorded.values()):
        inputs |= {name: builder.artifacts[artifacts] for name, artifacts in recorded.items()}
    definition = read_step(draw_models)
    return (builder.add("drawings", definition, params, inputs).id,)


def _check_overlap(builder: PlanBuilder) -> tuple[str, ...]:
    """Check whether accuracy was measured on calibration images."""
    facts, split = builder.build.dataset, builder.build.recipe.evaluate.split
    places = facts.split(split) if facts is not None else None
    measured = any(name.startswith("metrics-") for name in builder.artifacts)
    if not measured or not places or "calibration" not in builder.artifacts:
        return ()
    params = check_overlap.Params(split=Split(name=split, paths=places))
    inputs = {
        "calibration": builder.artifacts["calibration"],
        "pictures": builder.artifacts["calibrated-from"],
        "dataset": builder.artifacts["dataset"],
    }
    definition = read_step(check_overlap)
    step = builder.add("overlap", definition, params, inputs)
    return (step.id,)


def _load_on_firmware(builder: PlanBuilder) -> tuple[str, ...]:
    """Run Arm's TFLite Micro on an emulated Cortex-M55, where this host can emulate one."""
    if Format.VELA not in builder.artifacts or load_firmware.why_not(builder.board.accelerator):
        return ()
    contract = builder.build.contract
    params = load_firmware.Params(
        accelerator=builder.board.accelerator,
        firmware=contract.name if contract else "",
        arena_kib=(contract.arena_kib if contract else None) or 0,
    )
    inputs = {name: builder.artifacts[name] for name in (Format.VELA, "summary")}
    return (builder.judge("load", read_step(load_firmware), params, inputs).id,)


def _measure_latency(builder: PlanBuilder) -> tuple[str, ...]:
    """Add the latency steps that `benchmark` requests, for every file that this machine can run."""
    block = builder.build.recipe.benchmark
    found = []
    for kind in _TIMED if block is not None else ():
        definition = find_step("benchmark", READ_AS.get(kind, kind))
        if definition is None or kind not in builder.artifacts or block is None:
            continue
        params = definition.params(
            threads=block.threads, runs=block.runs, warmup=block.warmup, machine=builder.host.cpu
        )
        inputs: dict[str, Input] = {kind: builder.artifacts[kind]}
        step = builder.add(f"benchmark-{kind}", definition, params, inputs)
        found.append(step.id)
    return tuple(found)


def notes(builder: PlanBuilder) -> tuple[str, ...]:
    """Return sentences about what stays unverified."""
    contract, found = builder.build.contract, []
    if any(step.module == "compile_vela" for step in builder.steps):
        found.append(_NPU_NOTE)
    if contract is None:
        found += _without_contract(builder.build)
    if contract is not None:
        found += _unread(contract)
        found += [f"Not verified: {note}" for note in contract.notes if not contract.verified]
    if contract is not None and contract.decoder is None:
        found.append(
            f"Not done: no decoder of firmware {contract.name} was emulated; its contract names none."
        )
    unloaded = load_firmware.why_not(builder.board.accelerator)
    if Format.VELA in builder.artifacts and unloaded:
        found.append(f"Not done: the load test; {unloaded}")
    if not any(key.startswith("metrics-") for key in builder.artifacts):
        found.append("Accuracy: not measured.")
    if builder.build.target.flash is not None or builder.build.target.vela is not None:
        found.append("Not verified: the model on the device itself; none was attached.")
    modules = dict.fromkeys(step.module for step in builder.steps)
    sentences = (get_step(name).spec.unverified for name in modules)
    return (*found, *(sentence for sentence in sentences if sentence))


def _without_contract(build: Build) -> list[str]:
    """Return that no contract was checked, for a build whose board has a firmware."""
    sentence = "Not verified: whether a firmware decodes this model"
    if build.recipe.firmware == "unchecked":
        return [f"{sentence} (`firmware: unchecked`)."]
    if build.target.flash is None:
        return []
    task = build.recipe.source.task or "a network without a task"
    return [f"{sentence}; target {build.target.name} names no firmware contract for {task}."]


def _unread(contract: Contract) -> list[str]:
    """Return the unverified lines of a contract, in one sentence for each source."""
    by_source: dict[str, list[str]] = {}
    for line, source, verified in contract.provenance():
        if not verified:
            by_source.setdefault(source, []).append(line)
    return [
        f"Not verified: lines of the contract of firmware {contract.name}: {', '.join(lines)} (from {source})."
        for source, lines in by_source.items()
    ]
