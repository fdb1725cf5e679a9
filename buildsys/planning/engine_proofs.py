"""What is proved of an engine on a GPU, beside a build that does not wait for one. Pure.

The gate judges the ONNX file that the engine is built from, which every machine measures alike.
"""

from typing import Any

from buildsys.authoring.machine import gpu_machine_name
from buildsys.graph import Input
from buildsys.planning.plan_builder import Blueprint, shipped_files
from buildsys.planning.proofs import make_reading
from buildsys.registry import step_module
from buildsys.spec import Format

_LOWERED_NOTE = (
    "Not verified: the accuracy of {scheme}. TensorRT lowers the network while it builds; what was"
    " measured and judged is the float32 ONNX file. Of the engine itself tells evaluate-engine alone."
)


def add_engine_proofs(blue: Blueprint) -> tuple[str, ...]:
    """Ids of the steps, as of `proofs.add_proofs`; none where the build makes no engine."""
    return (*_evaluate(blue), *_time(blue)) if Format.ENGINE in blue.made else ()


def engine_notes(blue: Blueprint) -> tuple[str, ...]:
    """What stays unverified of an engine whose file is of another precision: TensorRT lowers it."""
    scheme = blue.model.quantization.scheme
    if Format.ENGINE not in blue.made or Format.QUANTIZED_ONNX in blue.made or scheme == "float32":
        return ()
    return (_LOWERED_NOTE.format(scheme=scheme),)


def _evaluate(blue: Blueprint) -> tuple[str, ...]:
    """What the engine itself is worth, where the file that it is built from was measured."""
    facts, split = blue.build.dataset, blue.build.recipe.evaluate.split
    places = facts.split(split) if facts is not None else None
    measured = {"metrics-onnx", "metrics-quantized-onnx"} & blue.made.keys()
    if not places or not measured:
        return ()
    module = step_module("evaluate_engine")
    params = module.Params(
        reading=make_reading(blue, Format.ENGINE, places),
        library=_library(blue),
        least=blue.model.batch[0],
    )
    inputs = _of_engine(blue, module) | {"dataset": blue.made["dataset"]}
    step = blue.add("evaluate-engine", module, params, inputs, {Format.EVIDENCE: False})
    return (step.id,)


def _time(blue: Blueprint) -> tuple[str, ...]:
    """What `benchmark` asks for, of the engine: every batch that it is built for by name."""
    block, frame = blue.build.recipe.benchmark, blue.model.preprocessing
    if block is None or frame is None:
        return ()
    module = step_module("benchmark_engine")
    params = module.Params(
        library=_library(blue),
        batches=tuple(sorted(set(blue.model.batch))),
        height=frame.height,
        width=frame.width,
        runs=block.runs,
        warmup=block.warmup,
        machine=gpu_machine_name(),
    )
    inputs, outputs = _of_engine(blue, module), {Format.LATENCY: False}
    return (blue.add("benchmark-engine", module, params, inputs, outputs).id,)


def _library(blue: Blueprint) -> Any:
    """What has to be on the machine that runs the engine."""
    settings = blue.build.tensorrt
    return step_module("evaluate_engine").GpuLibrary(
        name=settings.library,
        version=settings.version,
        compute_capability=settings.compute_capability or "",
    )


def _of_engine(blue: Blueprint, module: Any) -> dict[Any, Input]:
    """The engine, its facts, and the program of every package that runs it."""
    names = (Format.ENGINE, *module.NEEDS)
    return {name: blue.made[name] for name in names} | {"templates": shipped_files(module)}
