"""Networks that onnx2tf alone converts wrongly: detected by values, and converted correctly."""

import json
import subprocess
from pathlib import Path

import pytest

from buildsys.execution.running.runner import LAUNCHER, NO_MEMORY
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment
from tests.tools.single_steps import make_noise

pytestmark = pytest.mark.tools

_SETTING = """
import sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
values, nodes, random = [], [], np.random.default_rng(0)
def constant(name, array):
    values.append(numpy_helper.from_array(array, name))
    return name
def conv(name, given, channels, outputs, size=1, stride=1, group=1):
    shape = (outputs, channels // group, size, size)
    weights = random.normal(0, 0.2, shape).astype(np.float32)
    inputs = [given, constant(name + ".w", weights), constant(name + ".b", weights[:, 0, 0, 0])]
    node("Conv", name, inputs, kernel_shape=[size] * 2, strides=[stride] * 2, group=group,
         pads=[size // 2] * 4)
def node(kind, name, inputs, outputs=None, **attributes):
    nodes.append(helper.make_node(kind, inputs, outputs or [name], name="/" + name, **attributes))
def save(size, last, shape):
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])
    result = helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "network", [picture], [result], values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(onnx.shape_inference.infer_shapes(model), sys.argv[1])
"""

_RESIDUAL = """
conv("stem", "images", 3, 64)
node("Split", "split", ["stem", constant("halves", np.array([32, 32]))], ["kept", "worked"], axis=1)
conv("inner", "worked", 32, 32, size=3)
node("Add", "residual", ["worked", "inner"])
node("Concat", "joined", ["kept", "worked", "residual"], axis=1)
conv("out", "joined", 96, 8)
node("Reshape", "answer", ["out", constant("whole", np.array([1, 8, 1024]))])
save(32, "answer", [1, 8, 1024])
"""
"""A block like C2f of YOLOv8n at 256 px: height, width and channels are all 32."""

_ATTENTION = """
conv("stem", "images", 3, 16, size=3, stride=2)
node("Reshape", "rows", ["stem", constant("flat", np.array([1, 16, 64]))])
node("MatMul", "mixed", ["rows", constant("mix", random.normal(0, 0.2, (64, 64)).astype(np.float32))])
node("Reshape", "picture", ["mixed", constant("square", np.array([1, 16, 8, 8]))])
node("Reshape", "before", ["rows", "square"])
conv("place", "before", 16, 16, size=3, group=16)
node("Add", "attended", ["picture", "place"])
conv("out", "attended", 16, 5)
node("Reshape", "answer", ["out", constant("whole", np.array([1, 5, 64]))])
save(16, "answer", [1, 5, 64])
"""
"""Attention as in YOLO11: an addition after reshapes, with a grouped convolution."""


_MAP = """
conv("stem", "images", 3, 16, size=3, stride=2)
conv("answer", "stem", 16, 8)
save(16, "answer", [1, 8, 8, 8])
"""
"""An output with four axes, whose last three are equal."""


@pytest.mark.parametrize(
    ("network", "size", "layouts"),
    [(_RESIDUAL, 32, {}), (_ATTENTION, 16, {}), (_MAP, 16, {"answer": "NHWC"})],
    ids=["residual", "attention", "map"],
)
def test_a_layout_that_shapes_do_not_tell(
    network: str, size: int, layouts: dict[str, str], tmp_path: Path
) -> None:
    """The converted file computes the same as the ONNX file."""
    run = _convert(network, size, tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "saved" / "saved_model.pb").is_file()
    assert "largest difference, ONNX against SavedModel" in run.stdout
    assert "largest difference, SavedModel against float32 TFLite" in run.stdout
    assert (tmp_path / "float.tflite").read_bytes()[4:8] == b"TFL3"
    assert json.loads((tmp_path / "layouts.json").read_text()) == layouts


def test_a_network_that_could_not_be_simplified_is_not_converted(tmp_path: Path) -> None:
    """onnx2tf would continue with other operators, and the result would be kept."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "onnxsim.py").write_text("def simplify(file):\n    raise MemoryError\n")
    run = _convert(_MAP, 16, tmp_path, PYTHONPATH=str(broken))
    assert run.returncode == 3
    assert (tmp_path / "error.txt").read_text() == NO_MEMORY
    assert not (tmp_path / "saved").exists()


_BRANCH = """
import sys
from pathlib import Path
import numpy as np
from buildsys.spec import Preprocessing
from buildsys.steps.lib.networks import saved_model
from buildsys.steps.lib.runtime import tensorflow_setup
tf = tensorflow_setup.prepare()
weight = tf.Variable(2.0)
def network(images):
    if tf.reduce_sum(images) > 0:
        value = images * weight
    else:
        value = images - 1.0
    return [tf.reduce_max(value), value]
frame = Preprocessing(height=4, width=6, color="rgb", resize="letterbox")
frozen = saved_model.freeze(tf, network, frame)
weight.assign(9.0)
answer = lambda images: dict(zip(("most", "all"), frozen(images)))
saved_model.save(tf, answer, frame, Path("saved"))
saved = tf.saved_model.load("saved").signatures["serving_default"]
for fill, most in ((1.0, 2.0), (-1.0, -2.0)):
    values = saved(images=tf.fill((1, 4, 6, 3), fill))
    assert float(values["most"]) == most
    assert values["all"].shape == (1, 4, 6, 3)
    assert np.all(values["all"] == most)
assert tf.lite.TFLiteConverter.from_saved_model("saved").convert()

state = tf.Variable(0.0)
def recurrent(images):
    state.assign(tf.reduce_max(images))
    return {"doubled": state * 2.0}
answer = saved_model.freeze(tf, recurrent, frame)
assert float(answer(np.full((1, 4, 6, 3), 3.0, np.float32))["doubled"]) == 6.0
saved_model.save(tf, answer, frame, Path("assigning"))
saved = tf.saved_model.load("assigning").signatures["serving_default"]
assert float(saved(images=tf.fill((1, 4, 6, 3), 4.0))["doubled"]) == 8.0

foreign = saved_model.freeze(tf, lambda images: {"q": tf.linalg.qr(images)[0]}, frame)
network = saved_model.save(tf, foreign, frame, Path("foreign"))
saved_model.save_tflite(tf, network, Path("foreign"), None, frame, Path("foreign.tflite"))
assert "Qr" in Path("foreign.tflite").read_text()
"""


@pytest.mark.parametrize("converter", ["onnx2tf", "onnx-tf"])
def test_a_frozen_network_may_branch_and_assign(converter: str, tmp_path: Path) -> None:
    """Its weights are constants, in the saved file as well, unless it changes variables. Operators
    that TFLite lacks leave its file empty: the SavedModel may ship.
    """
    _, python = environments.ensure(converter, print)
    (tmp_path / "branch.py").write_text(_BRANCH)
    environment = tool_environment(python, tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    command = [str(python), "branch.py"]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)


_LIGHT = """
import sys
from pathlib import Path
from buildsys.steps import convert_tflite
from buildsys.steps.lib.runtime.progress import StepError
from buildsys.steps.lib.runtime.launcher import rebuild
quantization = {"scheme": "int8", "granularity": "per-channel", "io": "int8"}
frame = {"height": 16, "width": 16, "color": "rgb", "resize": "letterbox"}
params = {"quantization": quantization, "preprocessing": frame}
inputs = {"saved-model": Path("saved"), "float-tflite": Path("float.tflite"), "calibration": Path("noise")}
for scheme in ("int8", "int16x8", "float16", "dynamic-range", "float32"):
    quantization["scheme"] = scheme
    quantization["io"] = {"int8": "int8", "int16x8": "int16"}.get(scheme, "float32")
    target = Path(f"{scheme}.tflite")
    convert_tflite.run(inputs, {"tflite": target}, rebuild(convert_tflite.Params, params))
    assert target.read_bytes()[4:8] == b"TFL3", scheme
from tensorflow.python import tf2
from tensorflow.python.eager import context
assert tf2.enabled() and context.executing_eagerly()
assert "tensorflow._api" not in sys.modules
import tensorflow as tf
assert tf.constant([1.0]).numpy()[0] == 1.0
assert tf.DeviceSpec is sys.modules["tensorflow.python.framework.device"].DeviceSpec
Path("float.tflite").write_text("no float32 TFLite file: TF Select ops: Qr")
for scheme in ("int8", "float32"):
    quantization["scheme"] = scheme
    try:
        convert_tflite.run(inputs, {"tflite": target}, rebuild(convert_tflite.Params, params))
    except StepError as error:
        assert str(error) == "TFLite cannot compute this network: TF Select ops: Qr"
    else:
        raise AssertionError(scheme)
"""


@pytest.mark.parametrize("converter", ["onnx2tf", "onnx-tf"])
def test_quantizing_imports_a_part_of_tensorflow(converter: str, tmp_path: Path) -> None:
    """No scheme runs the code of the package `tensorflow`, which is there for whoever needs it; a
    converter's reason for not making the float file ends every scheme.
    """
    assert _convert(_MAP, 16, tmp_path).returncode == 0
    make_noise(tmp_path / "noise", 16)
    _, python = environments.ensure(converter, print)
    environment = tool_environment(python, tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [str(python), "-c", _LIGHT],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]


def _convert(
    network: str, size: int, folder: Path, **variables: str
) -> "subprocess.CompletedProcess[str]":
    _, python = environments.ensure("onnx2tf", print)
    source, target = folder / "network.onnx", folder / "saved"
    environment = tool_environment(python, folder)
    command = [str(python), "-c", _SETTING + network, str(source)]
    subprocess.run(command, check=True, env=environment)
    frame = {"height": size, "width": size, "color": "rgb", "resize": "letterbox"}
    request = {
        "inputs": {"onnx": str(source)},
        "outputs": {
            "saved-model": str(target),
            "layouts": str(folder / "layouts.json"),
            "float-tflite": str(folder / "float.tflite"),
        },
        "params": {"output_names": ["answer"], "preprocessing": frame},
        "error": str(folder / "error.txt"),
    }
    (folder / "request.json").write_text(json.dumps(request))
    command = [str(python), "-s", str(LAUNCHER), "convert_onnx2tf", str(folder / "request.json")]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment | variables,
    )
