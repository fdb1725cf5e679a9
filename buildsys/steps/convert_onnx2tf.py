"""ONNX -> TensorFlow SavedModel by onnx2tf, float32, NHWC, outputs under their ONNX names.

onnx2tf is asked for the network alone. Its own calibration option is never used: with `-cind` it
infers shapes from an NHWC array on an NCHW graph and can return a wrong model without an error.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, Resources
from buildsys.steps._progress import fail, report

TOOL_ENV = "onnx2tf"
CONSUMES, PRODUCES = Format.ONNX, Format.SAVED_MODEL
NEEDS = ("samples",)
BLOCK = "convert"
RESOURCES = Resources(memory_mib=3000, framework=True)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `convert` block has no setting of its own for this tool."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The names that the SavedModel's outputs get, and how sample pictures are prepared."""

    output_names: tuple[str, ...]
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Nothing to choose: the file says the rest."""
    assert model.preprocessing is not None
    names = tuple(tensor.name for tensor in model.outputs)
    return Params(output_names=names, preprocessing=model.preprocessing)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert a copy, identify each output by its values on real pictures, save under its name."""
    from buildsys.steps import _pictures, _tensorflow

    tf = _tensorflow.prepare()
    # onnx2tf rewrites its input file in place, and downloads this array when it is not here.
    _write_copy(inputs["onnx"], Path("model.onnx"))
    _tensorflow.write_placeholder_pictures()
    report(0, 2, "stages", "onnx2tf")
    # onnx2tf makes AddN of a Sum, for which no quantized kernel exists; two operands are an Add.
    tf.add_n = lambda inputs, name=None: functools.reduce(tf.math.add, inputs)
    network = _convert(Path("model.onnx"))
    report(1, 2, "stages", "comparing with the ONNX")
    pictures = _pictures.load(inputs.get("samples"), params.preprocessing)
    names = _compare(network, inputs["onnx"], pictures, params)

    def serve(images: Any) -> dict[str, Any]:
        values = network(images)
        values = values if isinstance(values, list | tuple) else [values]
        return {name: values[index] for name, index in names.items()}

    height, width = params.preprocessing.height, params.preprocessing.width
    module = tf.Module()
    module.network = network
    signature = tf.TensorSpec((1, height, width, 3), tf.float32, name="images")
    module.serve = tf.function(serve, input_signature=[signature])
    tf.saved_model.save(
        module, str(outputs["saved-model"]), signatures={"serving_default": module.serve}
    )
    # Its only content is a random identifier: equal models would have unequal bytes.
    (outputs["saved-model"] / "fingerprint.pb").unlink(missing_ok=True)
    report(2, 2, "stages")


def _write_copy(source: Path, target: Path) -> None:
    """A copy whose residual additions are `Sum` nodes.

    onnx2tf 1.29 compares the NHWC result of an `Add` with the NCHW shape in the file, takes the
    difference for a broadcasting fault and transposes both operands; compilers for NPUs then put
    every transpose on the CPU. Its `Sum` has no such guard and means the same. Attention needs the
    guard: what a Reshape yields keeps the file's order of axes, and a convolution's result does not.
    """
    import onnx

    from buildsys.steps import _models

    graph = _models.load_onnx(source)
    constants = {tensor.name for tensor in graph.graph.initializer}
    constants |= {node.output[0] for node in graph.graph.node if node.op_type == "Constant"}
    reshaped = {node.output[0] for node in graph.graph.node if node.op_type == "Reshape"}
    for node in graph.graph.node:
        if node.op_type == "Add" and not (constants | reshaped).intersection(node.input):
            node.op_type = "Sum"
    onnx.save(graph, str(target))


def _grouped(tf: Any, groups: int, kernel_initializer: Any, **settings: Any) -> Any:
    """What stands in for the layer that onnx2tf makes of a convolution in groups.

    Its layer is of another Keras than its network, so that TensorFlow would not save the weights.
    It comes where onnx2tf misses that every channel is a group of its own, as behind attention.
    """
    kernel = tf.convert_to_tensor(kernel_initializer.value)
    strides, dilations = list(settings["strides"]), list(settings["dilation_rate"])
    padding = settings["padding"].upper()

    def convolve(image: Any) -> Any:
        if groups == image.shape[-1] and len(set(strides)) == 1 and set(dilations) == {1}:
            own = tf.reshape(kernel, [*kernel.shape[:2], groups, -1])
            return tf.nn.depthwise_conv2d(image, own, [1, *strides, 1], padding)
        return tf.nn.convolution(image, kernel, strides, padding, dilations=dilations)

    return convolve


def _convert(path: Path) -> Any:
    import onnx2tf
    import tensorflow as tf
    from onnx2tf.ops import Conv

    Conv.Conv2D = functools.partial(_grouped, tf)
    try:
        return onnx2tf.convert(
            input_onnx_file_path=str(path),
            output_folder_path="converted",
            disable_model_save=True,
            non_verbose=True,
        )
    except SystemExit as error:  # its way to report a failure, whatever the caller
        fail(f"onnx2tf gave up on this network (exit {error.code}); its last lines say where.")


def _compare(network: Any, onnx_path: Path, pictures: Any, params: Params) -> dict[str, int]:
    """Which of the network's outputs is which ONNX output; every one equal within the tolerance."""
    from buildsys.steps import _models, _parity, _pictures

    session = _models.open_session(onnx_path)
    onnx_names = [output.name for output in session.get_outputs()]
    names = dict(zip(onnx_names, params.output_names or onnx_names, strict=True))
    feed = session.get_inputs()[0].name
    pairs: dict[str, str] = {}
    nhwc, nchw = _pictures.to_nhwc(pictures), _pictures.to_nchw(pictures)
    for index in range(len(pictures)):
        values = network(nhwc[index : index + 1])
        values = values if isinstance(values, list | tuple) else [values]
        found = {str(place): value.numpy() for place, value in enumerate(values)}
        wanted = dict(
            zip(onnx_names, session.run(None, {feed: nchw[index : index + 1]}), strict=True)
        )
        pairs = pairs or _parity.match_outputs(wanted, found)
        ours = {names[name]: value for name, value in wanted.items()}
        renamed = {names[name]: found[key] for name, key in pairs.items()}
        worst = _parity.require_close("onnx2tf", ours, renamed)
    print("largest difference, ONNX against SavedModel:", worst)
    return {names[key]: int(pairs[key]) for key in onnx_names}
