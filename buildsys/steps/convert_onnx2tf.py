"""Convert ONNX to a TensorFlow SavedModel with onnx2tf, and that to TFLite: float32, NHWC, outputs
under their ONNX names.

onnx2tf converts the network only. Its calibration option is never used: with `-cind` it infers
shapes from an NHWC array on an NCHW graph and can return a wrong model without an error.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import BoardSpec, Format, Intermediate, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.networks import saved_model
from buildsys.steps.lib.networks.saved_model import Params
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    from buildsys.steps.lib.parity.conversion import Match

STEP = StepSpec(
    tool_env="onnx2tf",
    consumes=(Format.ONNX,),
    produces=Format.SAVED_MODEL,
    also_produces=("layouts", Intermediate.FLOAT_TFLITE),
    needs=("samples",),
    block="convert",
    resources=Resources(memory_mib=3000),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `convert` block has no settings for this tool."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the file states everything else."""
    return saved_model.params_of(model)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert a copy, identify each output by its values on real images, and save it under its
    name.
    """
    from buildsys.steps.lib.runtime import tensorflow_setup

    # onnx2tf rewrites its input file in place. An unreadable file is reported before TensorFlow is
    # imported.
    _write_copy(inputs["onnx"], Path("model.onnx"))
    tf = tensorflow_setup.prepare()
    # onnx2tf downloads this array if it does not find it.
    tensorflow_setup.write_placeholder_pictures()
    report(0, 3, "stages", "onnx2tf")
    # onnx2tf makes an AddN of a Sum, and AddN has no quantized kernel; with two operands it is an
    # Add.
    tf.add_n = lambda inputs, name=None: functools.reduce(tf.math.add, inputs)  # type: ignore[attr-defined]
    _tell_layout_of_sums()
    failures = _simplify_in_this_process()
    layers = _convert(Path("model.onnx"))
    for error in failures:
        raise error
    network = saved_model.freeze(tf, lambda image: _listed(layers(image)), params.preprocessing)
    report(1, 3, "stages", "comparing with the ONNX")
    matches = _compare(network, inputs["onnx"], inputs.get("samples"), params)

    def answer(images: Any) -> dict[str, Any]:
        values = network(images)
        return {name: values[int(match.key)] for name, match in matches.items()}

    frame, folder = params.preprocessing, outputs["saved-model"]
    saved = saved_model.save(tf, answer, frame, folder)
    report(2, 3, "stages", "float32 TFLite")
    target = outputs[Intermediate.FLOAT_TFLITE]
    saved_model.save_tflite(tf, saved, folder, inputs.get("samples"), frame, target)
    turned = {name for name, match in matches.items() if match.turned}
    saved_model.write_layouts(outputs["layouts"], turned)
    report(3, 3, "stages")


def _write_copy(source: Path, target: Path) -> None:
    """Write a copy whose residual additions are `Sum` nodes, and whose names TensorFlow accepts.

    onnx2tf 1.29 compares the NHWC result of an `Add` with the NCHW shape in the file, mistakes the
    difference for a broadcasting error and transposes both operands; NPU compilers then run every
    transpose on the CPU. Its `Sum` has no such check and computes the same. Additions in NCHW, as
    in attention after a reshape, need the check and stay as they are.
    """
    import onnx

    from buildsys.steps.lib.files import finite_weights, model_files

    graph = model_files.load_onnx(source)
    finite_weights.require_finite_onnx(graph, source)
    constants = {tensor.name for tensor in graph.graph.initializer}
    makers = {name: node.op_type for node in graph.graph.node for name in node.output}
    constants |= {name for name, kind in makers.items() if kind in _UNLIKE_PICTURES}
    for node in graph.graph.node:
        if node.op_type == "Add" and not constants.intersection(node.input):
            node.op_type = "Sum"
        if any(item.name == "group" and item.i > 1 for item in node.attribute):
            # it may become a layer's name, which must not begin with /
            node.name = node.name.lstrip("/")
    onnx.save(graph, str(target))


_UNLIKE_PICTURES = ("Constant", "Reshape", "MatMul", "Transpose")
"""Operators whose results onnx2tf does not keep in NHWC."""


def _tell_layout_of_sums() -> None:
    """Mark the results of `Sum` nodes as NHWC, which onnx2tf 1.29 omits.

    Without the mark, a later concatenation assumes NCHW and transposes the result if height, width
    and channels are equal (32 at 256 px).
    """
    from onnx2tf.ops import Sum

    make_node = Sum.make_node

    def make(*, graph_node: Any, tf_layers_dict: dict[str, Any], **others: Any) -> None:
        make_node(graph_node=graph_node, tf_layers_dict=tf_layers_dict, **others)
        known = [tf_layers_dict.get(item.name, {}).get("nhwc", False) for item in graph_node.inputs]
        tf_layers_dict[graph_node.outputs[0].name]["nhwc"] = all(known)

    Sum.make_node = make


def _simplify_in_this_process() -> list[Exception]:
    """Make onnx2tf call onnxsim here: it starts that program up to four times.

    onnx2tf continues where that fails, and converts the network as it is, into other operators. It
    may do so only where onnxsim refuses the network; other errors are added to the list that is
    returned.
    """
    import subprocess
    import types

    import onnx
    import onnx2tf.onnx2tf
    import onnxsim

    simplified = b""
    failures: list[Exception] = []

    def check_output(command: list[str], stderr: int) -> bytes:
        nonlocal simplified
        try:
            assert command[0] == "onnxsim", command
            assert command[1:] == ["model.onnx", "model.onnx"], command
            file = Path("model.onnx")
            if file.read_bytes() != simplified:
                network, _ = onnxsim.simplify(str(file))
                onnx.save(network, str(file))
                simplified = file.read_bytes()
        except (OSError, MemoryError, AssertionError) as error:
            failures.append(error)
            raise
        return b""

    onnx2tf.onnx2tf.subprocess = types.SimpleNamespace(
        check_output=check_output, PIPE=subprocess.PIPE
    )
    return failures


def _convert(path: Path) -> Any:
    import onnx2tf

    try:
        return onnx2tf.convert(
            input_onnx_file_path=str(path),
            output_folder_path="converted",
            disable_model_save=True,
            non_verbose=True,
        )
    except SystemExit as error:  # onnx2tf reports failures by exiting
        fail(f"onnx2tf gave up on this network (exit {error.code}); its last lines say where.")


def _compare(
    network: Any, onnx_path: Path, samples: Path | None, params: Params
) -> "dict[str, Match]":
    """Return which output of the network is which ONNX output; ends the step if one differs too
    much.
    """
    from buildsys.steps.lib.parity import conversion

    pairs: dict[str, Match] = {}
    for picture, wanted in saved_model.expect(onnx_path, samples, params):
        values = network(picture)
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
    """Return the outputs as a list; a network with a single output returns the tensor itself."""
    return values if isinstance(values, list | tuple) else [values]
