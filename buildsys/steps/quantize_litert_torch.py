"""Quantize a float TFLite file to one scheme with ai-edge-quantizer.

int8 is full integer, with ranges from the smallest and largest value of every tensor on the recipe's
calibration images. The signal check and the gates decide whether the loss is acceptable.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import (
    BoardSpec,
    Format,
    Intermediate,
    ModelSpec,
    Preprocessing,
    Quantization,
    Resources,
    StepSpec,
)
from buildsys.steps.lib.files import tflite_bounds
from buildsys.steps.lib.runtime import reference_ranges
from buildsys.steps.lib.runtime.progress import report
from buildsys.steps.lib.runtime.reference_ranges import THREADS

if TYPE_CHECKING:
    import numpy as np

_ACTIVATIONS = {"int8": 8, "int16x8": 16}
"""Bits of what is computed; weights have 8."""
STEP = StepSpec(
    tool_env="litert-torch",
    consumes=(Intermediate.FLOAT_TFLITE,),
    produces=Format.TFLITE,
    needs=("calibration",),
    stage="quantize",
    resources=lambda params: Resources(
        memory_mib=1000, threads=THREADS if params.quantization.scheme in _ACTIVATIONS else 1
    ),
)
_MOVING = (
    "CONCATENATION",
    "MAX_POOL_2D",
    "RESHAPE",
    "RESIZE_NEAREST_NEIGHBOR",
    "SLICE",
    "SPLIT",
    "STRIDED_SLICE",
    "TRANSPOSE",
)
"""Operators whose results are values of their operands."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the file, beside the network and the calibration images."""

    quantization: Quantization
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Take the quantization that was decided for this build."""
    assert model.preprocessing is not None
    return Params(
        quantization=model.quantization,
        preprocessing=model.preprocessing,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Quantize the file; float32 copies it."""
    tflite_bounds.demand_tflite(inputs[Intermediate.FLOAT_TFLITE])
    content = inputs[Intermediate.FLOAT_TFLITE].read_bytes()
    if params.quantization.scheme == "float32":
        outputs["tflite"].write_bytes(content)
        return
    from buildsys.steps.lib.files import tflite_writing

    quantized = _quantize(content, inputs.get("calibration"), params)
    outputs["tflite"].write_bytes(tflite_writing.serialize(tflite_writing.parse(quantized)))


def _quantize(content: bytes, calibration: Path | None, params: Params) -> bytes:
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    quantization, every = params.quantization, (".*", TFLOperationName.ALL_SUPPORTED)
    tool = quantizer.Quantizer(bytearray(content))
    whole = quantization.granularity == "per-tensor"
    weights = QuantGranularity.TENSORWISE if whole else QuantGranularity.CHANNELWISE
    if quantization.scheme == "float16":
        tool.add_weight_only_config(*every, 16, algorithm_key=AlgorithmName.FLOAT_CASTING)
    elif quantization.scheme == "dynamic-range":
        tool.add_dynamic_config(*every, 8, weights)
    if quantization.scheme not in _ACTIVATIONS:
        return bytes(tool.quantize().quantized_model)
    tool.add_static_config(*every, _ACTIVATIONS[quantization.scheme], 8, weights)
    if quantization.io == "float32":
        for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
            tool.update_quantization_recipe(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
    assert calibration is not None  # `check` demands it
    return bytes(tool.quantize(_find_ranges(content, calibration, params)).quantized_model)


def _find_ranges(content: bytes, calibration: Path, params: Params) -> dict[str, Any]:
    """Return the smallest and largest value of every computed tensor over all images, by name.

    The reference kernels are plain loops in one order: ranges are the same on every CPU. The tool's own
    calibrator runs XNNPACK, which chooses its kernels by the CPU, and takes moving averages.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    from buildsys.steps.lib.files import tflite_writing

    model = tflite_writing.parse(content)
    (graph,) = model.subgraphs
    computed = {
        index: tensor.name.decode()
        for index, tensor in enumerate(graph.tensors)
        if tensor.type == schema.TensorType.FLOAT32 and model.buffers[tensor.buffer].data is None
    }
    found = reference_ranges.find_ranges(
        lambda: _interpreter(content), _samples(calibration, params), computed
    )
    ranges: dict[str, Any] = {}
    for index, edges in found.items():
        low, high = (np.array([edge], np.float32) for edge in edges)
        ranges[computed[index]] = {"min": low, "max": high}
    return _share(model, computed, ranges)


def _share(model: Any, computed: dict[int, str], ranges: dict[str, Any]) -> dict[str, Any]:
    """Give one range to tensors between which values are only moved, wide enough for all of them.

    Otherwise each part of a concatenation has its own scale, and one more operator that rounds its values
    to the scale of the whole.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_quantizer.utils import qsv_utils

    moving = {getattr(schema.BuiltinOperator, name) for name in _MOVING}
    (graph,) = model.subgraphs
    group = {name: {name} for name in ranges}
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode in moving:
            edges = [computed.get(i, "") for i in (*operator.inputs, *operator.outputs)]
            together = set().union(*(group[name] for name in edges if name in group))
            group |= dict.fromkeys(together, together)
    shared: dict[str, Any] = {}
    for name, together in group.items():
        for other in sorted(together):
            shared[name] = qsv_utils.min_max_update(shared.get(name, {}), ranges[other])
    return shared


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )


def _samples(calibration: Path, params: Params) -> "Iterator[list[np.ndarray]]":
    """Yield the calibration images as inputs of the network, which has one."""
    from buildsys.steps.lib.images import prepared_images

    images = prepared_images.span_range(prepared_images.load(calibration, params.preprocessing))
    for place in range(len(images)):
        report(place + 1, len(images), "calibration images")
        yield [prepared_images.to_nhwc(images[place : place + 1])]
