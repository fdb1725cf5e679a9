"""ONNX that takes other pixels -> ONNX that takes RGB in 0..1, as every step here gives them.

Networks that were exported elsewhere take what they were trained on: stock YOLOX files BGR in
0..255. Two operators are put in front, so that one preprocessing contract holds for all.
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
    """What the file takes: `color` rgb | bgr; `values` 0..1 | 0..255."""

    color: str
    values: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """The file's own input keeps its name and shape float32 [n, 3, height, width]."""
    import onnx

    from buildsys.steps.lib.files import model_files

    model = model_files.load_onnx(inputs["onnx"])
    _prepend(model, params)
    del model.metadata_props[:]
    onnx.save(model, str(outputs["onnx"]))


def _prepend(model: "onnx.ModelProto", params: Params) -> None:
    """Everything that read the input reads the last of the new operators' results."""
    import numpy as np
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    feeds = [value for value in graph.input if value.name not in constants]
    if len(feeds) != 1:
        fail(f"the file has {len(feeds)} inputs; a picture is one.")
    name, nodes = feeds[0].name, []
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
