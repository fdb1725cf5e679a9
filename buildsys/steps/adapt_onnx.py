"""Change an ONNX file so that its input is RGB in 0..1 and of one fixed size, as every step feeds
it, and that it computes in float32.

Networks exported elsewhere expect the input they were trained on: stock YOLOX files expect BGR in
0..255. Two operators are put in front, so that one preprocessing contract holds for all files. A
dynamic shape becomes fixed, and constants that depend on it are folded, because converters need
fixed shapes. Numbers in float16 become float32, which holds each of them exactly: converters compute
in float32.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import onnx

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX,),
    produces=Format.ONNX,
    resources=Resources(memory_mib=500),
)
LARGEST = 255.0


@dataclass(frozen=True, kw_only=True)
class Params:
    """The input that the file expects: `color` rgb | bgr; `values` 0..1 | 0..255.

    `shape`: the fixed shape for its input, (1, 3, height, width); empty keeps the file's own shape.
    `widens`: whether its float16 numbers become float32.
    """

    color: str
    values: str
    shape: tuple[int, ...] = ()
    widens: bool = False


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the changed file; its input keeps its name and its shape, float32 [n, 3, height,
    width].
    """
    import onnx

    from buildsys.steps.lib.files import finite_weights, half_precision, model_files

    model = model_files.load_onnx(inputs["onnx"])
    finite_weights.require_finite_onnx(model, inputs["onnx"])
    if params.widens:
        half_precision.widen(model)
    (feed,) = _feeds(model)
    if params.shape:
        model = _settle(model, feed, params.shape)
    _prepend(model, feed, params)
    del model.metadata_props[:]
    onnx.save(model, str(outputs["onnx"]))


def _feeds(model: "onnx.ModelProto") -> tuple[str, ...]:
    """Return the names of the inputs that are not weights; ends the step unless there is exactly
    one.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    names = tuple(value.name for value in model.graph.input if value.name not in constants)
    if len(names) != 1:
        fail(f"the file has {len(names)} inputs; a network here takes one image.")
    return names


def _settle(model: "onnx.ModelProto", feed: str, shape: tuple[int, ...]) -> "onnx.ModelProto":
    """Return the network for one fixed shape; onnxruntime folds what depended on the dynamic one."""
    import onnx

    from buildsys.steps.lib.files import model_files

    image = next(value for value in model.graph.input if value.name == feed)
    del image.type.tensor_type.shape.dim[:]
    for side in shape:
        image.type.tensor_type.shape.dim.add().dim_value = side
    for result in model.graph.output:
        result.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    onnx.save(model, "settled.onnx")
    model_files.fold(Path("settled.onnx"), Path("folded.onnx"))
    folded = onnx.load("folded.onnx")
    used = {node.domain for node in folded.graph.node}
    kept = [item for item in folded.opset_import if item.domain in {"", *used}]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded


def _prepend(model: "onnx.ModelProto", name: str, params: Params) -> None:
    """Insert the new operators; every consumer of the input then reads the result of the last one."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    nodes: list[onnx.NodeProto] = []
    current = name
    if params.values == "0..255":
        graph.initializer.append(numpy_helper.from_array(np.float32(LARGEST), "buildsys_largest"))
        nodes.append(helper.make_node("Mul", [current, "buildsys_largest"], ["buildsys_bytes"]))
        current = "buildsys_bytes"
    if params.color == "bgr":
        order = numpy_helper.from_array(np.array([2, 1, 0]), "buildsys_order")
        graph.initializer.append(order)
        turned = helper.make_node("Gather", [current, "buildsys_order"], ["buildsys_bgr"], axis=1)
        nodes.append(turned)
        current = "buildsys_bgr"
    for node in graph.node:
        for place, wanted in enumerate(node.input):
            if wanted == name:
                node.input[place] = current
    for node in reversed(nodes):
        graph.node.insert(0, node)
