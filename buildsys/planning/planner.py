"""Makes a build's plan from recipe, target and facts: steps joined by artifacts. Pure.

The chain starts where the source's format is consumed and follows the target's pipeline; where a
pipeline's step needs a format that does not exist yet, the step that makes it is inserted (the
family's export, the recipe's converter). Measurements and verdicts are added beside the chain (see
proofs); the package is last.
"""

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network, source_format
from buildsys.authoring.recipes.given_file import OnnxFile
from buildsys.authoring.recipes.model import runs_on_micro
from buildsys.authoring.recipes.pipelines import follow, made_on_the_way
from buildsys.authoring.recipes.recipe import Pixels
from buildsys.authoring.step_settings import StepSettings
from buildsys.digest import canonical
from buildsys.graph import WEIGHTS, BuildPlan, HostFacts, Input, Source, Step
from buildsys.planning import ladder, proofs, signal_check
from buildsys.planning.datasets import add_coco, add_dataset, add_images
from buildsys.planning.engine_proofs import add_engine_proofs, engine_notes
from buildsys.planning.local_gpu import settle_local
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import KnownSteps, needed, output, shipped_files
from buildsys.registry import StepDefinition, find_step, get_step, read_step
from buildsys.spec import MODELS, AnyFormat, CheckpointFacts, Format, Preprocessing
from buildsys.steps import adapt_onnx, bind_outputs, calibrate_engine, fetch_file, quantize_onnx
from buildsys.steps.lib.packages.contents import describe_preprocessing

_OF_EVERY_PACKAGE = ("verdict", "metrics")
"""The package depends on its proofs, even if its step does not request them."""

_ON_IMAGES = (("train", "training"), ("calibration", "calibration"), ("evaluate", "evaluation"))
"""The first part of a stage's name, and what the manifest calls it."""


def plan(
    build: Build, workspace: str, host: HostFacts, known: KnownSteps | None = None
) -> BuildPlan:
    """Return the steps of one build, whose pipeline is known to fit together.

    `host`: with the GPU's facts if `local_gpu.needs_gpu_facts` requires them. `known`: the steps of
    other builds of the recipe.
    """
    build = settle_local(build, host)
    builder, recipe = PlanBuilder(build, workspace, host, known), build.recipe
    add_dataset(builder)
    _add_source(builder)
    if recipe.train is not None:
        _add_training(builder)
    add_images(builder)
    package = _follow_pipeline(builder)
    aside = (*proofs.add_proofs(builder), *add_engine_proofs(builder))
    steps = needed(builder.steps, (package.id, *builder.verdicts(), *aside))
    return BuildPlan(
        build=build.id,
        recipe=recipe.name,
        target=build.target.name,
        label=build.target.label,
        steps=steps,
        package=package.id,
        shipped=next(i for i in package.inputs if i.name in MODELS),
        verdicts=builder.verdicts(),
        proofs=aside,
        notes=(*proofs.notes(builder), *engine_notes(builder)),
        facts=build.facts,
        preprocessing=_describe_images(builder.model.preprocessing, steps),
        licences=_licences(build),
    )


def _describe_images(frame: Preprocessing | None, steps: tuple[Step, ...]) -> str:
    """Return how an image becomes the input, and which of the plan's steps prepare images so; empty
    if unknown.
    """
    described = describe_preprocessing(frame)
    if described is None:
        return ""
    stages = {step.stage.partition("-")[0] for step in steps}
    used_by = [name for stage, name in _ON_IMAGES if stage in stages]
    return canonical(described | {"used_by": used_by})


def _licences(build: Build) -> tuple[str, ...]:
    """Return the licences that the family declares and that a given file states."""
    found, given = network(build.recipe.source.family), build.given
    declared = (found.licence,) if found is not None and found.licence else ()
    stated = (f"{given.licence} (as the given file states)",) if given and given.licence else ()
    return (*declared, *stated)


def _add_source(builder: PlanBuilder) -> None:
    weights, kind = builder.build.recipe.source.weights, source_format(builder.model.family)
    if weights.url is not None:
        params = fetch_file.Params(url=weights.url, sha256=weights.sha256 or "")
        step = builder.add("fetch", read_step(fetch_file), params, {}, {kind: False})
        builder.artifacts[kind] = output(step, kind)
    elif weights.random and builder.build.recipe.train is None:
        definition = get_step(f"initialize_{builder.model.family}")
        chosen = definition.plan(definition.settings(), builder.model, builder.board)
        step = builder.add("initialize", definition, chosen, {})
        builder.artifacts[kind] = output(step, kind)
    elif weights.path is not None:
        path = f"{builder.workspace}/{weights.path}"
        pinned = weights.sha256 or ""
        source = Source(path=path, label=weights.path, sha256=pinned, kind="model")
        builder.artifacts[kind] = Input(name=kind, source=source)
    _adapt(builder, kind)
    if network(builder.model.family) is None and kind in builder.artifacts:
        proofs.judge_given(builder, kind)


def _adapt(builder: PlanBuilder, kind: Format) -> None:
    """Add a step that adapts a given file with another pixel format, a dynamic shape, or numbers in
    float16.
    """
    pixels, shape = builder.build.recipe.source.pixels, _settled_shape(builder)
    widens = _is_widened(builder)
    if not (pixels or shape or widens) or kind not in builder.artifacts:
        return
    taken = pixels or Pixels()
    params = adapt_onnx.Params(color=taken.color, values=taken.values, shape=shape, widens=widens)
    inputs: dict[str, Input] = {kind: builder.artifacts[kind]}
    step = builder.add("adapt", read_step(adapt_onnx), params, inputs, {kind: False})
    builder.artifacts[kind] = output(step, kind)


def _settled_shape(builder: PlanBuilder) -> tuple[int, ...]:
    """Return the shape for converting a given ONNX file that leaves its shape open."""
    given, frame = builder.build.given, builder.model.preprocessing
    if not (_converts_onnx(builder) and isinstance(given, OnnxFile)) or frame is None:
        return ()
    is_open = any(side is None for edge in given.inputs for side in edge.sides)
    return (1, 3, frame.height, frame.width) if is_open else ()


def _is_widened(builder: PlanBuilder) -> bool:
    """Return whether an ONNX file is converted that holds float16, or that may, because only steps
    open a remote file.

    In float16 it computes other values than its conversion, which would be rejected as a fault.
    """
    given, weights = builder.build.given, builder.build.recipe.source.weights
    holds = given.half if isinstance(given, OnnxFile) else weights.url is not None
    return holds and _converts_onnx(builder)


def _converts_onnx(builder: PlanBuilder) -> bool:
    """Return whether this build converts a given ONNX file to TensorFlow."""
    build = builder.build
    if source_format(builder.model.family) != Format.ONNX:
        return False
    return Format.SAVED_MODEL in made_on_the_way(build.target, build.recipe)


def _add_training(builder: PlanBuilder) -> None:
    definition = find_step("train", builder.model.family)
    if definition is None:
        return
    inputs = {"dataset": builder.artifacts["dataset"]}
    if definition.spec.dataset_format == "coco":
        inputs = {"dataset": add_coco(builder, "dataset-coco")}
    start = builder.artifacts.pop(Format.CHECKPOINT, None)
    if start is not None:
        inputs[WEIGHTS] = start
        found = builder.build.checkpoint
        if (
            found is not None
            and found.names == builder.model.classes
            and _same_head(builder, found)
        ):
            proofs.evaluate(builder, "start", start)
    params = definition.plan(builder.build.train, builder.model, builder.board)
    step = builder.add("train", definition, params, inputs)
    builder.artifacts[Format.CHECKPOINT] = output(step, Format.CHECKPOINT)


def _same_head(builder: PlanBuilder, found: CheckpointFacts) -> bool:
    return found.task == builder.model.task and found.keypoints == builder.model.keypoints


def _follow_pipeline(builder: PlanBuilder) -> Step:
    current: AnyFormat = source_format(builder.model.family)
    steps: list[Step] = []
    if current == Format.TFLITE:
        _judge_and_bind_tflite(builder)
    for leg in follow(builder.build.target, builder.build.recipe):
        for between in leg.between:
            _add_chain_step(builder, between, current)
            current = _product(between)
        if leg.step.spec.produces == Format.PACKAGE:
            proofs.evaluate(builder, current, builder.artifacts[current])
            proofs.judge_file(builder, current)
        step = _calibrated_on_device(builder, leg.step)
        steps.append(_add_chain_step(builder, step or leg.step, current))
        current = current if step else _product(leg.step)
        if current == Format.TFLITE:
            _judge_and_bind_tflite(builder)
        if current == Format.QUANTIZED_ONNX:
            signal_check.judge_precision(builder)
    return steps[-1]


def _product(definition: StepDefinition) -> AnyFormat:
    """Return the format that a step of a pipeline makes."""
    assert definition.spec.produces is not None, definition.name
    return definition.spec.produces


def _calibrated_on_device(
    builder: PlanBuilder, definition: StepDefinition
) -> StepDefinition | None:
    """Return the step that replaces quantizing the file, where TensorRT calibrates itself."""
    settings = builder.build.tensorrt
    by_device = settings is not None and settings.int8 == "calibrator"
    int8 = builder.model.quantization.scheme == "int8"
    if by_device and int8 and definition == read_step(quantize_onnx):
        return read_step(calibrate_engine)
    return None


def _add_chain_step(builder: PlanBuilder, definition: StepDefinition, current: AnyFormat) -> Step:
    """Add a step of the chain, and the measurement of what it consumes."""
    spec, produced = definition.spec, _product(definition)
    if produced != Format.PACKAGE:
        proofs.evaluate(builder, current, builder.artifacts[current])
    params = definition.plan(_settings(builder, definition), builder.model, builder.board)
    inputs: dict[str, Input] = {current: builder.artifacts[current]}
    proofs_of = _OF_EVERY_PACKAGE if produced == Format.PACKAGE else ()
    for name in (*spec.needs, *(name for name in proofs_of if name not in spec.needs)):
        inputs |= {
            key: item
            for key, item in builder.artifacts.items()
            if key == name
            or (name == "metrics" and key.startswith("metrics-"))
            or (name == "verdict" and key.startswith("verdict-"))
        }
    vela = builder.build.vela if spec.block == "vela" else None
    config = vela.config if vela is not None else None
    if config is not None:
        path = builder.build.target_folder / config
        inputs["config"] = Input(name="config", source=Source(path=str(path), label=config))
    inputs |= shipped_files(spec.templates)
    step = builder.add(definition.stage, definition, params, inputs)
    for name in definition.outputs:
        builder.artifacts[name] = output(step, name)
    return step


def _settings(builder: PlanBuilder, definition: StepDefinition) -> StepSettings:
    build = builder.build
    blocks: dict[str, StepSettings | None] = {
        "export": build.export,
        "vela": build.vela,
        "tensorrt": build.tensorrt,
    }
    default: type[StepSettings] = definition.settings
    return blocks.get(definition.spec.block) or default()


def _judge_and_bind_tflite(builder: PlanBuilder) -> None:
    """Add the checks before compiling: contract, signal check, the firmware's output order,
    accuracy.

    The contract is first: if the firmware cannot decode the file, the contract's hint is the right
    one.
    """
    if builder.board.contract is not None:
        proofs.judge_contract(builder)
    described = builder.model.outputs or builder.board.contract is not None
    made_here = source_format(builder.model.family) != Format.TFLITE
    # TFLite Micro reports operators there
    if described or made_here or not runs_on_micro(builder.build):
        proofs.judge_signal(builder)  # LiteRT at least loads the file
    if builder.board.contract is not None and builder.board.contract.outputs:
        _bind_outputs(builder)
    ladder.judge_allocation(builder)
    proofs.evaluate(builder, Format.TFLITE, builder.artifacts[Format.TFLITE])


def _bind_outputs(builder: PlanBuilder) -> None:
    """Make the chain's next file; accuracy is measured on it, as it is what ships or is
    compiled.
    """
    params = bind_outputs.plan(bind_outputs.Settings(), builder.model, builder.board)
    inputs: dict[str, Input] = {
        name: builder.artifacts[name] for name in (Format.TFLITE, "verdict-contract")
    }
    step = builder.add("bind", read_step(bind_outputs), params, inputs)
    builder.artifacts[Format.TFLITE] = output(step, Format.TFLITE)
