"""Users' files in the real runtimes."""

from pathlib import Path

import pytest

from tests.given_models import tflite_bytes
from tests.tools.places import doit, make_workspace, read, statuses
from tests.tools.single_steps import evaluate

pytestmark = pytest.mark.tools

_RECIPE = """\
name: odd
source: {family: tflite, weights: {path: odd.tflite}}
evaluate: none
firmware: unchecked
targets: [host, xiao-esp32s3]
"""


def test_a_file_that_no_runtime_loads_is_rejected_by_the_runtime(tmp_path: Path) -> None:
    """An operator without a kernel is reported by LiteRT for a Linux board, by TFLite Micro for a
    microcontroller.
    """
    root = make_workspace(tmp_path / "place", odd=_RECIPE)
    (root / "odd.tflite").write_bytes(tflite_bytes(operators=("CONCAT_EMBEDDINGS",)))
    assert doit(root, "--continue").returncode == 11
    told = statuses(root)
    assert told["odd@host"].startswith("rejected by signal: LiteRT cannot run odd.tflite: ")
    assert told["odd@xiao-esp32s3"].startswith("rejected by tflm: TFLite Micro does not load ")
    assert "CONCAT_EMBEDDINGS" in told["odd@xiao-esp32s3"]
    verdict = read(root / "build" / ".rejected" / "odd@xiao-esp32s3" / "verdict.json")
    assert verdict["evidence"]["tflm"]["passed"] is False


_SETTLED = """
import json, sys
from pathlib import Path
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
sys.path.insert(0, sys.argv[1])
from buildsys.steps import adapt_onnx
from buildsys.steps.lib.files.onnx_header import read_header
image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])
result = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3, "cells"])
first = numpy_helper.from_array(np.array([0, 1]), "first")
rest = numpy_helper.from_array(np.array([-1]), "rest")
nodes = [
    helper.make_node("Shape", ["images"], ["shape"]),
    helper.make_node("Gather", ["shape", "first"], ["kept"]),
    helper.make_node("Concat", ["kept", "rest"], ["flat"], axis=0),
    helper.make_node("Reshape", ["images", "flat"], ["rows"]),
]
graph = helper.make_graph(nodes, "g", [image], [result], [first, rest])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(model, "in.onnx")
params = adapt_onnx.Params(color="rgb", values="0..1", shape=(1, 3, 4, 8))
for name in ("one.onnx", "two.onnx"):
    adapt_onnx.run({"onnx": Path("in.onnx")}, {"onnx": Path(name)}, params)
assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()
picture = np.random.default_rng(0).random((1, 3, 4, 8), dtype=np.float32)
runs = [onnxruntime.InferenceSession(name).run(None, {"images": picture})[0]
        for name in ("in.onnx", "one.onnx")]
header = read_header(Path("one.onnx"))
print(json.dumps({
    "same": bool((runs[0] == runs[1]).all()),
    "shapes": [header.inputs[0].shape, header.outputs[0].shape],
    "operators": [name for _, name in header.operators],
}))
"""


_WIDENED = """
import json, sys
from pathlib import Path
import numpy as np, onnx, onnxruntime
from onnx import TensorProto as T, helper as h, numpy_helper as n
sys.path.insert(0, sys.argv[1])
from buildsys.steps import adapt_onnx
from buildsys.steps.lib.files.onnx_header import read_header

def constant(name, *values):
    tensor = n.from_array(np.array(values, np.float16))
    return h.make_node("Constant", [], [name], value=tensor)

random = np.random.default_rng(0)
kernel = n.from_array(random.standard_normal((4, 3, 3, 3)).astype(np.float16), "kernel")
edge = h.make_tensor_value_info
branches = [
    h.make_graph([constant(f"{name}.by", by), h.make_node("Mul", ["seen", f"{name}.by"], [name])],
                 name, [], [edge(name, T.FLOAT16, [1, 4, 6, 6])])
    for name, by in (("then", 0.5), ("else", 2.0))
]
typed = sys.argv[2] == "inside"
begin = [h.make_node("Cast", ["images"], ["taken"], to=T.FLOAT16)] if typed else []
nodes = [
    *begin,
    h.make_node("Conv", ["taken" if typed else "images", "kernel"], ["seen"]),
    h.make_node("ConstantOfShape", ["two"], ["level"], value=n.from_array(np.array([1], np.float16))),
    h.make_node("ReduceSum", ["level"], ["sum"], keepdims=0),
    h.make_node("Cast", ["sum"], ["truth"], to=T.BOOL),
    h.make_node("If", ["truth"], ["chosen"], then_branch=branches[0], else_branch=branches[1]),
    h.make_node("Cast", ["chosen"], ["answer"], to=T.FLOAT if typed else T.FLOAT16),
]
kind = T.FLOAT if typed else T.FLOAT16
graph = h.make_graph(nodes, "g", [edge("images", kind, [1, 3, 8, 8])],
                     [edge("answer", kind, [1, 4, 6, 6])],
                     [kernel, n.from_array(np.array([2]), "two")],
                     value_info=[edge("seen", T.FLOAT16, [1, 4, 6, 6])])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "in.onnx")
held = h.make_node("Constant", [], ["kernel"], value=kernel)
graph = h.make_graph([held, *nodes], "g", graph.input, graph.output,
                     [n.from_array(np.array([2]), "two")])
onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), "held.onnx")
params = adapt_onnx.Params(color="rgb", values="0..1", widens=True)
for name in ("one.onnx", "two.onnx"):
    adapt_onnx.run({"onnx": Path("in.onnx")}, {"onnx": Path(name)}, params)
assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()
onnx.checker.check_model(onnx.load("one.onnx"), full_check=True)
picture = random.random((1, 3, 8, 8), dtype=np.float32)
half = onnxruntime.InferenceSession("in.onnx").run(
    None, {"images": picture if typed else picture.astype(np.float16)})[0]
whole = onnxruntime.InferenceSession("one.onnx").run(None, {"images": picture})[0]
print(json.dumps({
    "half": [read_header(Path(name)).half for name in ("in.onnx", "held.onnx", "one.onnx")],
    "types": [str(whole.dtype), "FLOAT16" in str(onnx.load("one.onnx")),
              "data_type: 10" in str(onnx.load("one.onnx"))],
    "close": bool(np.allclose(half, whole, rtol=5e-3, atol=5e-3)),
    "kernel": bool((n.to_array(onnx.load("one.onnx").graph.initializer[0]) == n.to_array(kernel)).all()),
}))
"""


@pytest.mark.parametrize("where", ["inside", "at its edges too"])
def test_a_file_in_float16_computes_in_float32(tmp_path: Path, where: str) -> None:
    """Weights, constants, types and branches, with the values that the file has."""
    assert evaluate(tmp_path, _WIDENED, where) == {
        "half": [True, True, False],
        "types": ["float32", False, False],
        "close": True,
        "kernel": True,
    }


def test_an_open_shape_is_settled(tmp_path: Path) -> None:
    """An open input size is fixed, and its computations are folded, with the same bytes each time."""
    assert evaluate(tmp_path, _SETTLED) == {
        "same": True,
        "shapes": [[1, 3, 4, 8], [1, 3, 32]],
        "operators": ["Reshape"],
    }
