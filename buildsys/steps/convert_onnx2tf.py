"""ONNX -> TensorFlow SavedModel by onnx2tf, float32, NHWC, outputs under their ONNX names.

onnx2tf is asked for the network alone. Its own calibration option is never used: with `-cind` it
infers shapes from an NHWC array on an NCHW graph and can return a wrong model without an error.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.files import saved_model
from buildsys.steps.lib.files.saved_model import Params
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    from buildsys.steps.lib.parity.conversion import Match

STEP = StepSpec(
    tool_env="onnx2tf",
    consumes=(Format.ONNX,),
    produces=Format.SAVED_MODEL,
    also_produces=("layouts",),
    needs=("samples",),
    block="convert",
    resources=Resources(memory_mib=3000, framework=True),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `convert` block has no setting of its own for this tool."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Nothing to choose: the file says the rest."""
    return saved_model.params_of(model)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert a copy, identify each output by its values on real pictures, save under its name."""
    from buildsys.steps.lib.runtime import tensorflow_setup

    # onnx2tf rewrites its input file in place. A file that is none is told before TensorFlow is there.
    grouped = _write_copy(inputs["onnx"], Path("model.onnx"))
    tf = tensorflow_setup.prepare()
    # onnx2tf downloads this array when it is not here.
    tensorflow_setup.write_placeholder_pictures()
    report(0, 2, "stages", "onnx2tf")
    # onnx2tf makes AddN of a Sum, for which no quantized kernel exists; two operands are an Add.
    tf.add_n = lambda inputs, name=None: functools.reduce(tf.math.add, inputs)
    _tell_layout_of_sums()
    if not grouped:
        _describe_no_layers()
    network = _convert(Path("model.onnx"))
    report(1, 2, "stages", "comparing with the ONNX")
    matches = _compare(network, inputs["onnx"], inputs.get("samples"), params)

    def answer(images: Any) -> dict[str, Any]:
        values = _listed(network(images))
        return {name: values[int(match.key)] for name, match in matches.items()}

    saved_model.save(tf, answer, params.preprocessing, network, outputs["saved-model"])
    turned = {name for name, match in matches.items() if match.turned}
    saved_model.write_layouts(outputs["layouts"], turned)
    report(2, 2, "stages")


def _write_copy(source: Path, target: Path) -> bool:
    """A copy whose residual additions are `Sum` nodes, and whose names TensorFlow can save.

    Returns whether a convolution works in groups.

    onnx2tf 1.29 compares the NHWC result of an `Add` with the NCHW shape in the file, takes the
    difference for a broadcasting fault and transposes both operands; compilers for NPUs then put
    every transpose on the CPU. Its `Sum` has no such guard and means the same. Additions in NCHW,
    as those of attention behind a reshape, need the guard and stay.
    """
    import onnx

    from buildsys.steps.lib.files import model_files

    graph = model_files.load_onnx(source)
    constants = {tensor.name for tensor in graph.graph.initializer}
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    constants |= {name for name, kind in makers.items() if kind in _UNLIKE_PICTURES}
    grouped = False
    for node in graph.graph.node:
        if node.op_type == "Add" and not constants.intersection(node.input):
            node.op_type = "Sum"
        if any(item.name == "group" and item.i > 1 for item in node.attribute):
            node.name = node.name.lstrip("/")  # it may become a layer, and no layer begins with /
            grouped = True
    onnx.save(graph, str(target))
    return grouped


_UNLIKE_PICTURES = ("Constant", "Reshape", "MatMul", "Transpose")
"""Operators whose results onnx2tf does not hold as NHWC pictures."""


def _tell_layout_of_sums() -> None:
    """onnx2tf 1.29 forgets at a `Sum` that its operands are NHWC. A concatenation behind it then
    takes it for NCHW where height, width and channels are equal (32 at 256 px), and turns it.
    """
    from onnx2tf.ops import Sum

    make_node = Sum.make_node

    def make(*, graph_node: Any, tf_layers_dict: dict[str, Any], **others: Any) -> None:
        make_node(graph_node=graph_node, tf_layers_dict=tf_layers_dict, **others)
        known = [tf_layers_dict.get(item.name, {}).get("nhwc", False) for item in graph_node.inputs]
        tf_layers_dict[graph_node.outputs[0].name]["nhwc"] = all(known)

    Sum.make_node = make


def _describe_no_layers() -> None:
    """Nothing of Keras' description of its layers is saved, and making it took two thirds of the time.

    `tf.saved_model.save` reads every attribute of every layer, in search of functions; this one is a
    property that writes the layer as JSON, weights included. Networks with a grouped convolution gain
    nothing by it (YOLO11n, YOLOX-Nano), and a number in the saved file would be another.
    """
    import tf_keras

    tf_keras.layers.Layer._tracking_metadata = ""


def _convert(path: Path) -> Any:
    import onnx2tf

    try:
        return onnx2tf.convert(
            input_onnx_file_path=str(path),
            output_folder_path="converted",
            disable_model_save=True,
            non_verbose=True,
        )
    except SystemExit as error:  # its way to report a failure, whatever the caller
        fail(f"onnx2tf gave up on this network (exit {error.code}); its last lines say where.")


def _compare(
    network: Any, onnx_path: Path, samples: Path | None, params: Params
) -> "dict[str, Match]":
    """Which of the network's outputs is which ONNX output; every one equal within the tolerance."""
    from buildsys.steps.lib.parity import conversion

    pairs: dict[str, Match] = {}
    for picture, wanted in saved_model.expect(onnx_path, samples, params):
        values = _listed(network(picture))
        found = {str(place): value.numpy() for place, value in enumerate(values)}
        pairs = pairs or conversion.match_outputs(wanted, found)
        renamed = {
            name: conversion.channels_first(found[match.key]) if match.turned else found[match.key]
            for name, match in pairs.items()
        }
        worst = conversion.require_close("onnx2tf", wanted, renamed)
    print("largest difference, ONNX against SavedModel:", worst)
    return pairs


def _listed(values: Any) -> Any:
    """A network's answer as a list; of a single output it is the tensor alone."""
    return values if isinstance(values, list | tuple) else [values]
