"""Source files with BGR input in 0..255 are given equivalent pixels."""

import json
from pathlib import Path

import pytest

from buildsys.steps.adapt_onnx import Params
from tests.tools.single_steps import evaluate

pytestmark = pytest.mark.tools

_CASE = """
import dataclasses, json, sys
from pathlib import Path
import numpy as np, onnx, onnxruntime
from onnx import TensorProto, helper, numpy_helper
sys.path.insert(0, sys.argv[1])
from buildsys.steps import adapt_onnx
image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])
result = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3, 1, 1])
node = helper.make_node("GlobalAveragePool", ["images"], ["mean"])
graph = helper.make_graph([node], "g", [image], [result])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "in.onnx")
params = adapt_onnx.Params(**json.loads(sys.argv[2]))
for name in ("one.onnx", "two.onnx"):
    adapt_onnx.run({"onnx": Path("in.onnx")}, {"onnx": Path(name)}, params)
assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()
onnx.checker.check_model(onnx.load("one.onnx"))
picture = np.random.default_rng(0).random((1, 3, 4, 4), dtype=np.float32)
given = onnxruntime.InferenceSession("in.onnx").run(None, {"images": picture})[0]
found = onnxruntime.InferenceSession("one.onnx").run(None, {"images": picture})[0]
print(json.dumps([given.ravel().tolist(), found.ravel().tolist()]))
"""


@pytest.mark.parametrize(
    ("color", "values"), [("bgr", "0..255"), ("rgb", "0..255"), ("bgr", "0..1")]
)
def test_the_file_takes_rgb_in_0_to_1(tmp_path: Path, color: str, values: str) -> None:
    """Pixels are converted to the order and range that the file expects."""
    words = json.dumps(vars(Params(color=color, values=values)))
    given, found = evaluate(tmp_path, _CASE, words)
    wanted = given[::-1] if color == "bgr" else given
    factor = 255 if values == "0..255" else 1
    assert found == pytest.approx([value * factor for value in wanted], rel=1e-5)
