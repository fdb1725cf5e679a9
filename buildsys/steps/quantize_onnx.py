"""Convert an ONNX file to another precision: float16, or int8 with explicit quantize and dequantize
operators.

A strongly typed compiler such as TensorRT-RTX takes its types from such a file. Input and outputs
stay float32. In an int8 file everything else is float16 or float32 (`unquantized`). The last
convolution of each branch is not quantized, because it computes the network's results, and eight
bits are too few for keypoints (measured: see `_last`); nor is the one that decodes bins.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.heads.batch import Batch, calibration_batch, memory_mib
from buildsys.steps.lib.runtime.progress import fail, report
from buildsys.steps.lib.tensorrt.calibration_images import RECOMMENDED

if TYPE_CHECKING:
    import numpy as np
    import onnx

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX,),
    produces=Format.QUANTIZED_ONNX,
    needs=("calibration",),
    stage="quantize",
    # A file with a fixed batch of n is calibrated on n images at a time.
    resources=lambda params: Resources(
        memory_mib=memory_mib(params.batch, params.preprocessing, 1500, 250)
    ),
)
_MOST_PIXELS = 4 * 640 * 640
"""Maximum number of pixels of calibration images that run together: each keeps its intermediate
values, 250 MiB at 640 x 640 in YOLOv8n (measured: 16 together took 4.1 GiB, and twice as long per
image as 1).
"""
_LEAST_OPSET = 13
"""The first opset in which quantize and dequantize operators support one scale per channel."""
_HALF_OPSET = 19
"""The first opset in which they support float16 (ONNX, Changelog.md)."""
_LAYOUT = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""Operators that change the order of values or the axes alone."""
_LEAST_SCALE = 2.0**-14
"""The smallest normal number of float16: smaller numbers have fewer than eleven binary digits."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings: the `quantization` block belongs to the model."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the file besides the network and the calibration images.

    `scheme` float16 | int8; `granularity` of int8 weights; `classes`: splits a joint output;
    `unquantized`: float16 | float32, the precision of everything that is not int8.
    """

    scheme: str
    granularity: str
    preprocessing: Preprocessing
    classes: int
    batch: Batch = (1, 1, 1)
    unquantized: str = "float32"


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the quantization of this build; the granularity of int8 weights does not apply to
    float16.
    """
    assert model.preprocessing is not None
    scheme = model.quantization.scheme
    return Params(
        scheme=scheme,
        granularity=model.quantization.granularity if scheme == "int8" else "",
        preprocessing=model.preprocessing,
        classes=len(model.classes),
        batch=model.batch,
        unquantized="float32" if board.weakly_typed else model.quantization.unquantized,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert the file; `examine_onnx` measures and judges the loss."""
    import onnx

    from buildsys.steps.lib.files import model_files

    model = model_files.load_onnx(inputs["onnx"])
    if params.scheme == "float16":
        made = _halve(model)
    else:
        made = _quantize(model, inputs["calibration"], params)
        if params.unquantized == "float16":
            made = _halve(_for_half(made))
    del made.metadata_props[:]
    onnx.save(made, str(outputs[Format.QUANTIZED_ONNX]))


def _halve(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Convert weights and arithmetic to float16 with onnxruntime's converter; the casts that it
    appends to the graph are moved before their consumers, as ONNX requires.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    made = convert_float_to_float16(model, keep_io_types=True)
    OnnxModel.graph_topological_sort(made.graph, is_deterministic=True)
    return made


def _for_half(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Prepare an int8 network whose quantize and dequantize operators use float16: opset 19, and
    scales that float16 represents exactly; weights are rounded to those.

    Scales below `_LEAST_SCALE` would lose digits, and below 3e-8 all of them: the weights use fewer
    steps instead.
    """
    import numpy as np
    from onnx import numpy_helper

    model = _raise_opset(model)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    before: dict[str, np.ndarray] = {}
    nodes = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for name in {node.input[1] for node in nodes}:
        before[name] = numpy_helper.to_array(constants[name])
        rounded = np.maximum(before[name].astype(np.float16), _LEAST_SCALE).astype(np.float32)
        constants[name].CopyFrom(numpy_helper.from_array(rounded, name))
    for node in nodes:
        if node.input[0] in constants:
            held = constants[node.input[0]]
            axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
            steps = np.moveaxis(numpy_helper.to_array(held), axis, -1)
            ratio = before[node.input[1]] / numpy_helper.to_array(constants[node.input[1]])
            taken = np.clip(np.rint(steps * ratio), -127, 127).astype(steps.dtype)
            held.CopyFrom(numpy_helper.from_array(np.moveaxis(taken, -1, axis), held.name))
    return model


def _raise_opset(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the same network in `_HALF_OPSET` if its own opset is older."""
    from onnx import version_converter

    if _opset(model) >= _HALF_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _HALF_OPSET)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        fail(
            f"the file has ONNX opset {_opset(model)}, float16 beside int8 needs {_HALF_OPSET}, and"
            f" the network cannot be converted: {reason}. Export it anew with opset {_HALF_OPSET}, or"
            " set `quantization: {unquantized: float32}`."
        )


def _quantize(model: "onnx.ModelProto", folder: Path, params: Params) -> "onnx.ModelProto":
    """Quantize as TensorRT requires: symmetric everywhere, without biases, and with scales only
    before convolutions, so that activation functions can be fused with them.

    Ranges come from MinMax: onnxruntime's entropy method, with as many bins as it quantizes to,
    finds the same ranges (measured) but keeps every image's intermediate values in memory.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    _demand_opset(model)
    _name_nodes(model.graph)
    prepared = _prepare(model)
    quantize_static(
        prepared,
        "quantized.onnx",
        None,
        calibration_cache_path=_calibrate(prepared, _Pictures(prepared, folder, params)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=_last(onnx.load(prepared).graph),
        per_channel=params.granularity == "per-channel",
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        },
    )
    return onnx.load("quantized.onnx")


def _calibrate(prepared: str, pictures: "_Pictures") -> str:
    """Return the file with the ranges of the values before convolutions, computed with reproducible
    kernels.
    """
    import onnx
    from onnxruntime.quantization.calibrate import create_calibrator, save_tensors_data

    from buildsys.steps.lib.networks import onnx_session

    onnx.save(onnx_session.without_softmax(onnx.load(prepared)), "calibrated.onnx")
    calibrator = create_calibrator("calibrated.onnx", ["Conv"], "augmented.onnx")
    calibrator.collect_data(pictures)
    save_tensors_data(calibrator.compute_data(), Path("ranges.json"))
    return "ranges.json"


def _prepare(model: "onnx.ModelProto") -> str:
    """Infer shapes, and fold constants and batch norms, as the quantizer requires."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    onnx.save(model, "float.onnx")
    quant_pre_process("float.onnx", "prepared.onnx", skip_symbolic_shape=True)
    return "prepared.onnx"


def _opset(model: "onnx.ModelProto") -> int:
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)


def _demand_opset(model: "onnx.ModelProto") -> None:
    opset = _opset(model)
    if opset < _LEAST_OPSET:
        fail(
            f"int8 needs ONNX opset {_LEAST_OPSET} or later, the file has {opset};"
            f" export it anew (`export: {{opset: {_LEAST_OPSET}}}`)."
        )


def _name_nodes(graph: "onnx.GraphProto") -> None:
    """Name all nodes: nodes are excluded by name, and other tools' files have unnamed nodes."""
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node_{number}"


def _last(graph: "onnx.GraphProto") -> list[str]:
    """Return the names of the convolutions with no convolution after them, the last of each branch,
    and of those that decode bins, which do not count as convolutions after others.

    With the last ones in int8, YOLOv8n-pose lost .023 of its keypoints' mAP50-95 on 300 images of
    tags; without, .005. In a network of only such convolutions they are quantized.
    """
    decoding = _decode_bins(graph)
    names = [node.name for node in graph.node if node.op_type == "Conv"]
    convolutions = [name for name in names if name not in decoding]
    if not convolutions:
        fail("the network has no convolution, and nothing else is quantized to int8.")
    last: list[str] = []
    leading: set[str] = set()
    for node in reversed(graph.node):
        goes_on = bool(leading & set(node.output))
        counts = node.op_type == "Conv" and node.name not in decoding
        if counts and not goes_on:
            last.append(node.name)
        if counts or goes_on:
            leading |= set(node.input)
    return [*decoding, *(last if len(last) < len(convolutions) else [])]


def _decode_bins(graph: "onnx.GraphProto") -> list[str]:
    """Return the names of the convolutions of probabilities: the expectation of a box side over its
    bins, which a decoded head computes as a convolution (Ultralytics' DFL).
    """
    probabilities: set[str] = set()
    found = []
    for node in graph.node:
        of_them = bool(node.input) and node.input[0] in probabilities
        if node.op_type == "Softmax" or (node.op_type in _LAYOUT and of_them):
            probabilities |= set(node.output)
        if node.op_type == "Conv" and of_them:
            found.append(node.name)
    return found


class _Pictures:
    """Prepared images in batches, in the form of onnxruntime's CalibrationDataReader.

    MinMax does not depend on the grouping, so that a last batch may contain an image twice.
    Measured on YOLOv8n with batches of 1, 2, 4, 6 and 16: scales differ by at most 2e-6 (relative),
    because sums in a convolution are rounded in another order.
    """

    def __init__(self, model: str, folder: Path, params: Params) -> None:
        import onnx

        from buildsys.steps.lib.images import prepared_images

        graph = onnx.load(model).graph
        constants = {tensor.name for tensor in graph.initializer}
        feed = next(item for item in graph.input if item.name not in constants)
        self.feed, settled = feed.name, feed.type.tensor_type.shape.dim[0].dim_value
        self.pictures, self.done = prepared_images.load(folder, params.preprocessing), 0
        wanted = calibration_batch(params.batch, len(self.pictures))
        room = _MOST_PIXELS // (params.preprocessing.height * params.preprocessing.width)
        self.settled, self.size = settled, settled or max(1, min(wanted, room))
        few = f"; {RECOMMENDED} are recommended" if len(self.pictures) < RECOMMENDED else ""
        print(f"calibrated on {len(self.pictures)} images{few}")

    def get_next(self) -> "dict[str, np.ndarray] | None":
        """Return one input float32 [n, 3, height, width] by its name; None after the last."""
        import numpy as np

        from buildsys.steps.lib.images import prepared_images

        if self.done == len(self.pictures):
            return None
        chosen = self.pictures[self.done : self.done + self.size]
        self.done += len(chosen)
        report(self.done, len(self.pictures), "calibration images")
        if self.settled:
            chosen = np.resize(chosen, (self.size, *chosen.shape[1:]))
        return {self.feed: prepared_images.to_nchw(chosen)}
