"""Recipe, target and facts -> plan: which steps, joined by which artifacts. Pure.

The chain starts where the source's format is consumed and follows the target's pipeline; where a
pipeline's step wants a format that is not there yet, the step that makes it is put in between
(the family's export, the recipe's converter). Measurements and verdicts hang on the side (see
proofs); the package is last.
"""

from types import ModuleType
from typing import Any

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network, source_format
from buildsys.authoring.recipes.pipelines import follow
from buildsys.digest import canonical
from buildsys.graph import Comparison, Input, Plan, Source, Step
from buildsys.planning import proofs, signal_check
from buildsys.planning.datasets import add_dataset, add_pictures, write_coco
from buildsys.planning.engine_proofs import add_engine_proofs, engine_notes
from buildsys.planning.plan_builder import Blueprint, needed, output, shipped_files
from buildsys.registry import find_step, step_module
from buildsys.spec import MODELS, TREES, Format
from buildsys.steps.lib.packages.contents import describe_preprocessing


def plan(build: Build, workspace: str) -> Plan:
    """The steps of one build, whose pipeline is known to fit together."""
    blue, recipe = Blueprint(build, workspace), build.recipe
    add_dataset(blue)
    _add_source(blue)
    if recipe.train is not None:
        _add_training(blue)
    add_pictures(blue)
    package = _follow_pipeline(blue)
    aside = (*proofs.add_proofs(blue), *add_engine_proofs(blue))
    return Plan(
        build=build.id,
        recipe=recipe.name,
        target=build.target.name,
        label=build.target.label,
        steps=needed(blue.steps, (package.id, *blue.verdicts(), *aside)),
        package=package.id,
        shipped=next(i for i in package.inputs if i.name in MODELS),
        verdicts=blue.verdicts(),
        proofs=aside,
        notes=(*proofs.notes(blue), *engine_notes(blue)),
        facts=build.facts,
        preprocessing=canonical(describe_preprocessing(blue.model.preprocessing))
        if blue.model.preprocessing is not None
        else "",
        licences=_licences(recipe.source.family),
        comparison=_comparison(build),
    )


def _comparison(build: Build) -> Comparison | None:
    block = build.recipe.benchmark
    if block is None or not build.against:
        return None
    return Comparison(
        against=build.against, threads=block.threads, runs=block.runs, warmup=block.warmup
    )


def _licences(family: str) -> tuple[str, ...]:
    found = network(family)
    return (found.licence,) if found is not None and found.licence else ()


def _add_source(blue: Blueprint) -> None:
    weights, kind = blue.build.recipe.source.weights, source_format(blue.model.family)
    if weights.url is not None:
        module = step_module("fetch_file")
        params = module.Params(url=weights.url, sha256=weights.sha256)
        step = blue.add("fetch", module, params, {}, {kind: False})
        blue.made[kind] = output(step, kind)
    elif weights.random and blue.build.recipe.train is None:
        module = step_module(f"initialize_{blue.model.family}")
        step = blue.add("initialize", module, module.plan(blue.model), {}, {kind: False})
        blue.made[kind] = output(step, kind)
    elif weights.path is not None:
        path = f"{blue.workspace}/{weights.path}"
        pinned = weights.sha256 or ""
        source = Source(path=path, label=weights.path, sha256=pinned, kind="model")
        blue.made[kind] = Input(name=kind, source=source)
    _adapt(blue, kind)


def _adapt(blue: Blueprint, kind: Format) -> None:
    """A file that takes other pixels than every step gives gets operators in front."""
    pixels = blue.build.recipe.source.pixels
    if pixels is None or kind not in blue.made:
        return
    module = step_module("adapt_onnx")
    params = module.Params(color=pixels.color, values=pixels.values)
    step = blue.add("adapt", module, params, {kind: blue.made[kind]}, {kind: False})
    blue.made[kind] = output(step, kind)


def _add_training(blue: Blueprint) -> None:
    module = find_step("train", blue.model.family)
    if module is None:
        return
    inputs = {"dataset": blue.made["dataset"]}
    if getattr(module, "DATASET_FORMAT", "ultralytics") == "coco":
        inputs = {"dataset": write_coco(blue, "dataset-coco")}
    start = blue.made.pop(Format.CHECKPOINT, None)
    if start is not None:
        inputs["weights"] = start
        found = blue.build.checkpoint
        if found is not None and found.names == blue.model.classes and _same_head(blue, found):
            proofs.evaluate(blue, "start", start)
    params = module.plan(blue.build.train, blue.model, blue.board)
    step = blue.add("train", module, params, inputs, {Format.CHECKPOINT: False})
    blue.made[Format.CHECKPOINT] = output(step, Format.CHECKPOINT)


def _same_head(blue: Blueprint, found: Any) -> bool:
    return bool(found.task == blue.model.task and found.keypoints == blue.model.keypoints)


def _follow_pipeline(blue: Blueprint) -> Step:
    current = source_format(blue.model.family)
    steps: list[Step] = []
    if current == Format.TFLITE:
        _bind(blue)
    for leg in follow(blue.build.target, blue.build.recipe):
        for between in leg.between:
            _convert(blue, between, current)
            current = between.PRODUCES
        if Format.PACKAGE == leg.step.PRODUCES:
            proofs.evaluate(blue, current, blue.made[current])
            proofs.judge_file(blue, current)
        step = _calibrated_on_device(blue, leg.step)
        steps.append(_convert(blue, step or leg.step, current))
        current = current if step else leg.step.PRODUCES
        if current == Format.TFLITE:
            _bind(blue)
        if current == Format.QUANTIZED_ONNX:
            signal_check.judge_precision(blue)
    return steps[-1]


def _calibrated_on_device(blue: Blueprint, module: ModuleType) -> ModuleType | None:
    """What takes the place of quantizing the file, where TensorRT calibrates by itself."""
    by_device = getattr(blue.build.tensorrt, "int8", "") == "calibrator"
    int8 = blue.model.quantization.scheme == "int8"
    if by_device and int8 and module is step_module("quantize_onnx"):
        return step_module("calibrate_engine")
    return None


def _convert(blue: Blueprint, module: ModuleType, current: Format) -> Step:
    """Add a step of the chain, and the measurement of what it consumes."""
    if module.PRODUCES != Format.PACKAGE:
        proofs.evaluate(blue, current, blue.made[current])
    settings = _settings(blue, module)
    params = module.plan(settings, blue.model, blue.board)
    inputs: dict[str, Input] = {current: blue.made[current]}
    for name in getattr(module, "NEEDS", ()):
        inputs |= {
            key: item
            for key, item in blue.made.items()
            if key == name
            or (name == "metrics" and key.startswith("metrics-"))
            or (name == "verdict" and key.startswith("verdict-"))
        }
    config = getattr(settings, "config", None)
    if config is not None:
        path = blue.build.target_folder / config
        inputs["config"] = Input(name="config", source=Source(path=str(path), label=config))
    if hasattr(module, "TEMPLATES"):
        inputs["templates"] = shipped_files(module)
    outputs = {module.PRODUCES: module.PRODUCES in TREES}
    outputs |= dict.fromkeys(getattr(module, "ALSO_PRODUCES", ()), False)
    stage = getattr(module, "STAGE", module.__name__.rsplit(".", 1)[-1].split("_")[0])
    step = blue.add(stage, module, params, inputs, outputs)
    for name in outputs:
        blue.made[name] = output(step, name)
    return step


def _settings(blue: Blueprint, module: ModuleType) -> Any:
    block = getattr(module, "BLOCK", "")
    build = blue.build
    blocks = {"export": build.export, "vela": build.vela, "tensorrt": build.tensorrt}
    chosen = blocks.get(block)
    return chosen if chosen is not None else module.Settings()


def _bind(blue: Blueprint) -> None:
    """Before a compiler sees the file: the contract, its sight, the firmware's order, its accuracy.

    The contract first: of a file that the firmware cannot decode, the cure is the contract's.
    """
    if blue.board.contract is not None:
        proofs.judge_contract(blue)
    said = blue.model.outputs or blue.board.contract is not None
    if said or source_format(blue.model.family) != Format.TFLITE:
        proofs.judge_signal(blue)  # a file of which nobody says anything is shipped as it is
    if blue.board.contract is not None:
        _bind_outputs(blue)
    proofs.evaluate(blue, Format.TFLITE, blue.made[Format.TFLITE])


def _bind_outputs(blue: Blueprint) -> None:
    """The chain's next file; accuracy is measured on it, as it is what ships or is compiled."""
    module = step_module("bind_outputs")
    params = module.plan(module.Settings(), blue.model, blue.board)
    inputs: dict[str, Input] = {
        name: blue.made[name] for name in (Format.TFLITE, "verdict-contract")
    }
    step = blue.add("bind", module, params, inputs, {Format.TFLITE: False})
    blue.made[Format.TFLITE] = output(step, Format.TFLITE)
