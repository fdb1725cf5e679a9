"""Proofs of an engine on a GPU, beside a build that does not wait for one. Pure.

The gate judges the ONNX file that the engine is built from, which every machine measures with the
same result.
"""

from buildsys.graph import Input
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import shipped_files
from buildsys.planning.proofs import make_reading
from buildsys.registry import StepDefinition, read_step
from buildsys.spec import Format
from buildsys.steps import benchmark_engine, evaluate_engine
from buildsys.steps.lib.tensorrt.engine_process import GpuLibrary

_LOWERED_NOTE = (
    "Not verified: the accuracy of {scheme}. TensorRT lowers the network while it builds; what was"
    " measured and judged is the float32 ONNX file. Only evaluate-engine measures the engine itself."
)


def add_engine_proofs(builder: PlanBuilder) -> tuple[str, ...]:
    """Return the ids of the steps, like `proofs.add_proofs`; none where the build makes no
    engine.
    """
    return (*_evaluate(builder), *_time(builder)) if Format.ENGINE in builder.artifacts else ()


def engine_notes(builder: PlanBuilder) -> tuple[str, ...]:
    """Return what stays unverified of an engine with another precision than its file."""
    scheme = builder.model.quantization.scheme
    if (
        Format.ENGINE not in builder.artifacts
        or Format.QUANTIZED_ONNX in builder.artifacts
        or scheme == "float32"
    ):
        return ()
    return (_LOWERED_NOTE.format(scheme=scheme),)


def _evaluate(builder: PlanBuilder) -> tuple[str, ...]:
    """Evaluate the engine itself, where the file that it is built from was measured."""
    facts, split = builder.build.dataset, builder.build.recipe.evaluate.split
    places = facts.split(split) if facts is not None else None
    measured = {"metrics-onnx", "metrics-quantized-onnx"} & builder.artifacts.keys()
    if not places or not measured:
        return ()
    definition = read_step(evaluate_engine)
    params = evaluate_engine.Params(
        reading=make_reading(builder, Format.ENGINE, places),
        library=_library(builder),
        least=builder.model.batch[0],
    )
    inputs = _of_engine(builder, definition) | {"dataset": builder.artifacts["dataset"]}
    step = builder.add("evaluate-engine", definition, params, inputs)
    return (step.id,)


def _time(builder: PlanBuilder) -> tuple[str, ...]:
    """Add the latency steps that `benchmark` requests of the engine, one for each named batch."""
    block, frame = builder.build.recipe.benchmark, builder.model.preprocessing
    if block is None or frame is None:
        return ()
    definition = read_step(benchmark_engine)
    params = benchmark_engine.Params(
        library=_library(builder),
        batches=tuple(sorted(set(builder.model.batch))),
        height=frame.height,
        width=frame.width,
        runs=block.runs,
        warmup=block.warmup,
        machine=builder.host.cpu_and_gpu,
    )
    inputs = _of_engine(builder, definition)
    return (builder.add("benchmark-engine", definition, params, inputs).id,)


def _library(builder: PlanBuilder) -> GpuLibrary:
    """Return what the machine that runs the engine must have."""
    settings = builder.build.tensorrt
    assert settings is not None, "an engine is built by the target's `tensorrt` block"
    return GpuLibrary(
        name=settings.library,
        version=settings.version,
        compute_capability=settings.compute_capability or "",
    )


def _of_engine(builder: PlanBuilder, definition: StepDefinition) -> dict[str, Input]:
    """Return the engine, its facts, and the program of every package that runs it."""
    names = (Format.ENGINE, *definition.spec.needs)
    files: dict[str, Input] = {name: builder.artifacts[name] for name in names}
    return files | shipped_files(definition.spec.templates)
