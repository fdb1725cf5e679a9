"""Weights that are NaN or infinite, in the real tools: the first step that reads them names one."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment
from tests.tools.single_steps import run_step

pytestmark = pytest.mark.tools

_FRAME = {"height": 64, "width": 64, "color": "rgb", "resize": "letterbox"}
_NAMES = {"output_names": ["rows"], "preprocessing": _FRAME}
_EXPORT = {**_NAMES, "opset": 13, "batch": [1, 1, 1]}
_POSE = {"task": "pose", "head": "split"}
_YOLOX = {"architecture": "yolox-nano", "head": "yolox-split"}
_FAMILIES: dict[str, dict[str, dict[str, Any]]] = {
    "ultralytics": {
        "export_ultralytics": {**_EXPORT, **_POSE},
        "trace_ultralytics": {**_NAMES, **_POSE},
    },
    "yolox": {
        "export_yolox": {**_EXPORT, **_YOLOX, "classes": ["tag"]},
        "trace_yolox": {**_NAMES, **_YOLOX, "classes": 1},
    },
}
"""Family -> step -> its parameters."""
_NETWORK = """
import sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
result = helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, 3, 64, 64])
weight = np.ones((3, 3, 1, 1), np.float32)
weight[0] = float(sys.argv[1])
limit = np.array(float(sys.argv[2]), np.float32)
nodes = [
    helper.make_node("Conv", ["images", "weight"], ["seen"]),
    helper.make_node("Min", ["seen", "limit"], ["rows"]),
]
values = [numpy_helper.from_array(weight, "weight")]
if sys.argv[3] == "initializer":
    values.append(numpy_helper.from_array(limit, "limit"))
else:
    value = numpy_helper.from_array(limit)
    nodes.insert(0, helper.make_node("Constant", [], ["limit"], value=value))
graph = helper.make_graph(nodes, "g", [image], [result], values)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(model, "network.onnx")
"""
_DAMAGED = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "ultralytics":
    from buildsys.steps.lib.families import ultralytics_setup
    from buildsys.steps.lib.runtime import torch_light
    with torch_light.without_torchvision():
        ultralytics_setup.prepare(Path.cwd())
checkpoint = torch.load(sys.argv[3], map_location="cpu", weights_only=False)
network = checkpoint["model"]
tensors = network if isinstance(network, dict) else network.state_dict()
next(value for name, value in tensors.items() if name.endswith("conv.weight"))[0] = float("inf")
torch.save(checkpoint, "damaged.pt")
"""


def _run(folder: Path, env: str, code: str, *arguments: str) -> None:
    _, python = environments.ensure(env, print)
    command = [str(python), "-c", code, *arguments]
    subprocess.run(command, cwd=folder, check=True, env=tool_environment(python, folder))


@pytest.mark.parametrize(
    ("env", "module", "params"),
    [
        ("evaluate", "adapt_onnx", {"color": "rgb", "values": "0..1"}),
        ("onnx2tf", "convert_onnx2tf", _NAMES),
        ("onnx-tf", "convert_onnx_tf", _NAMES),
    ],
)
def test_weights_of_an_onnx_file_are_finite(
    tmp_path: Path, env: str, module: str, params: dict[str, Any]
) -> None:
    """NaN is found in every constant, infinity in weights; the step names file and tensor."""
    inputs = {"onnx": tmp_path / "network.onnx"}
    outputs = {name: tmp_path / name for name in ("onnx", "saved-model", "layouts")}
    for values, name, count in (
        (("nan", "1", "initializer"), "weight", "3 of 9"),
        (("-inf", "1", "initializer"), "weight", "3 of 9"),
        (("1", "nan", "initializer"), "limit", "1 of 1"),
        (("1", "nan", "node"), "limit", "1 of 1"),
    ):
        _run(tmp_path, "evaluate", _NETWORK, *values)
        text = run_step(tmp_path, env, module, inputs, outputs, params, code=3)
        wanted = f"network.onnx cannot be used: {count} values of its weight {name} are NaN"
        assert text.startswith(wanted), text


def test_an_infinite_limit_is_no_weight(tmp_path: Path) -> None:
    """Networks may use infinity as a limit."""
    _run(tmp_path, "evaluate", _NETWORK, "1", "inf", "initializer")
    inputs, outputs = {"onnx": tmp_path / "network.onnx"}, {"onnx": tmp_path / "adapted.onnx"}
    run_step(
        tmp_path, "evaluate", "adapt_onnx", inputs, outputs, {"color": "rgb", "values": "0..1"}
    )


@pytest.mark.parametrize("family", list(_FAMILIES))
def test_weights_of_a_checkpoint_are_finite(tmp_path: Path, family: str) -> None:
    """Export and tracing name the checkpoint and one of its weights."""
    checkpoint = REPOSITORY / "weights" / "fiducials-start.pt"
    if family == "yolox":
        checkpoint = tmp_path / "start.pt"
        made = {"architecture": "yolox-nano", "seed": 0, "classes": ["tag"]}
        run_step(tmp_path, family, "initialize_yolox", {}, {"checkpoint": checkpoint}, made)
    _run(tmp_path, family, _DAMAGED, str(REPOSITORY), family, str(checkpoint))
    inputs = {"checkpoint": tmp_path / "damaged.pt"}
    outputs = {name: tmp_path / name for name in ("onnx", "program")}
    for module, params in _FAMILIES[family].items():
        text = run_step(tmp_path, family, module, inputs, outputs, params, code=3)
        assert text.startswith("damaged.pt cannot be used: "), text
        assert "conv.weight are NaN or infinite" in text
