"""A network whose outputs are lost in a lower precision is reported, and no engine is built."""

import hashlib
import shutil
import struct
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from tests.tools.bright import NETWORK, ONNX_FILE
from tests.tools.places import doit, make_workspace, read, statuses, store_of, tool_environment
from tests.tools.single_steps import make_noise, run_step

pytestmark = pytest.mark.tools

_SIDE = 96
_SPOTS = f"""\
name: spots
source:
  family: onnx
  task: detect
  weights: {{path: bright.onnx}}
  decoder: yolov8-raw
  classes: [spot]
dataset: {{format: ultralytics, path: data/data.yaml}}
input: {{size: {_SIDE}}}
quantization: {{scheme: int8, calibration: {{images: "data/images/val/*.bmp", count: 4}}}}
matrix:
  calibrated:
    light: {{}}
    dark: {{quantization: {{calibration: {{images: "dark/*.bmp"}}}}}}
targets: [nvidia-rtx-aot]
"""

_DECODED = """
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as n, save
layout, target = sys.argv[1:3]
rng = np.random.default_rng(0)
node, values = h.make_node, []
def conv(name, given, rows, channels):
    values.append(n.from_array(rng.normal(0, 1, (rows, channels, 1, 1)).astype(np.float32), f"{name}.w"))
    return node("Conv", [given, f"{name}.w"], [name], name=name)
for name, shape in (("cells", [1, -1, 256]), ("bins", [1, 4, 16, 256]), ("sides", [1, 4, 256])):
    values.append(n.from_array(np.array(shape), name))
values.append(n.from_array(np.array([64, 2]), "parts"))
nodes = [conv("stem", "images", 8, 3), conv("box", "stem", 64, 8), conv("cls", "stem", 2, 8)]
if layout == "joined":  # Ultralytics 8.0 to 8.3
    nodes += [node("Concat", ["box", "cls"], ["both"], axis=1),
              node("Reshape", ["both", "cells"], ["flat"]),
              node("Split", ["flat", "parts"], ["b", "c"], axis=1)]
else:
    nodes += [node("Reshape", ["box", "cells"], ["b"]), node("Reshape", ["cls", "cells"], ["c"])]
nodes += [node("Reshape", ["b", "bins"], ["b1"]),
          node("Transpose", ["b1"], ["b2"], perm=[0, 3, 1, 2]),
          node("Softmax", ["b2"], ["b3"], axis=3),
          node("Transpose", ["b3"], ["b4"], perm=[0, 3, 2, 1]),
          conv("dfl", "b4", 1, 16),
          node("Reshape", ["dfl", "sides"], ["b5"]),
          node("Sigmoid", ["c"], ["c1"]),
          node("Concat", ["b5", "c1"], ["output0"], axis=1)]
edges = [h.make_tensor_value_info("images", T.FLOAT, [1, 3, 16, 16]),
         h.make_tensor_value_info("output0", T.FLOAT, [1, 6, 256])]
graph = h.make_graph(nodes, "decoded", edges[:1], edges[1:], values)
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), target)
"""
_IN_INT8 = """
import sys
import onnx
graph = onnx.load(sys.argv[1]).graph
steps = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
print(*(node.name for node in graph.node if node.op_type == "Conv" and node.input[1] in steps))
"""


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network calibrated on images like those it works on, and on images of the night. Only
    read.
    """
    root = make_workspace(tmp_path_factory.mktemp("precision") / "place", spots=_SPOTS)
    _write_data(root)
    (root / "dark").mkdir()
    for index in range(4):
        (root / "dark" / f"{index}.bmp").write_bytes(_bitmap(40, 40, 16 * (index + 1)))
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", NETWORK, str(root / "bright.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    run = doit(root, store=store_of(root))
    assert run.returncode == 11, run.stderr
    yield root
    shutil.rmtree(root)


def _write_data(root: Path) -> None:
    """Write four images with a bright spot, and their labels."""
    for folder in ("data/images/val", "data/labels/val"):
        (root / folder).mkdir(parents=True)
    (root / "data" / "data.yaml").write_text("val: images/val\nnames: {0: spot}\n")
    for index in range(4):
        column = 16 * (index + 1)
        (root / "data/images/val" / f"{index}.bmp").write_bytes(_bitmap(60, 255, column))
        label = f"0 {(column + 4) / _SIDE} {36 / _SIDE} {16 / _SIDE} {16 / _SIDE}\n"
        (root / "data/labels/val" / f"{index}.txt").write_text(label)


def _bitmap(ground: int, spot: int, column: int) -> bytes:
    """Write a plain image with a spot of 8 x 8 pixels whose upper left corner is (column, 32)."""
    rows = [
        bytes(
            spot if column <= x < column + 8 and 32 <= y < 40 else ground
            for x in range(_SIDE)
            for _ in range(3)
        )
        for y in reversed(range(_SIDE))
    ]
    pixels = b"".join(rows)
    head = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
    form = struct.pack("<IiiHHIIiiII", 40, _SIDE, _SIDE, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    return head + form + pixels


def test_a_file_that_fails_the_signal_check_is_rejected_before_an_engine_is_built(
    judged: Path,
) -> None:
    """No engine is built from a file that fails the signal check."""
    told = statuses(judged)
    assert told["spots-light@nvidia-rtx-aot"] == "built"
    constant = "cls_s8 is constant: the same in all 144 cells of 4 images"
    assert told["spots-dark@nvidia-rtx-aot"].startswith(f"rejected by signal: {constant}")
    logs = judged / "build" / "spots-dark" / "nvidia-rtx-aot" / "logs"
    assert not (logs / "engine.log").exists()
    folder = judged / "build" / ".rejected" / "spots-dark@nvidia-rtx-aot"
    assert sorted(path.name for path in folder.iterdir()) == ["spots-dark.onnx", "verdict.json"]
    (failure,) = read(folder / "verdict.json")["failures"]
    assert failure.startswith(constant)
    assert "Cure: keep more digits (`scheme: float16`); or calibrate on more images" in failure


def test_what_the_precision_costs_is_reported_for_a_sound_file(judged: Path) -> None:
    """The verdict's figures are in the manifest; the verdict itself is passed, without figures."""
    folder = judged / "build" / "spots-light" / "nvidia-rtx-aot"
    manifest = read(folder / "manifest.json")
    found = manifest["evidence"]["signal"]
    assert (found["passed"], found["pictures"]) == (True, 4)
    (rung,) = found["rungs"]
    assert (rung["from"], rung["to"]) == ("onnx", "quantized-onnx")
    assert rung["outputs"]["cls_s8"]["value"] < 0.1
    assert rung["detections"]["from"] == rung["detections"]["in_both"] == 4
    metrics = read(folder / "metrics.json")
    assert metrics["quantized-onnx"]["metrics"]["box.mAP50"] > 0.9
    # an engine's key depends on the verdict without figures, which differ between machines
    (step,) = (step for step in manifest["steps"] if step["stage"] == "signal")
    verdict = read(Store(store_of(judged)).blob(step["outputs"]["verdict"]))
    assert verdict == {"passed": True, "failures": []}


@pytest.mark.parametrize("layout", ["joined", "apart"])
def test_the_outputs_of_a_decoded_head_are_not_quantized(tmp_path: Path, layout: str) -> None:
    """The convolution that decodes bins is not the last of a branch: those before it are."""
    _, python = environments.ensure("evaluate", print)
    model, made = tmp_path / "decoded.onnx", tmp_path / "int8.onnx"
    environment = tool_environment(python)
    command = [str(python), "-c", _DECODED, layout, str(model)]
    subprocess.run(command, check=True, env=environment)
    params = {
        "scheme": "int8",
        "granularity": "per-channel",
        "preprocessing": {"height": 16, "width": 16, "color": "rgb", "resize": "letterbox"},
        "classes": 2,
    }
    inputs = {"onnx": model, "calibration": make_noise(tmp_path / "noise", 16)}
    run_step(tmp_path, "evaluate", "quantize_onnx", inputs, {"quantized-onnx": made}, params)
    command = [str(python), "-c", _IN_INT8, str(made)]
    run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["stem"]


_FOREIGN = """
import sys
import onnx
model = onnx.load(sys.argv[1])
outputs = list(reversed(model.graph.output))
for number, output in enumerate(outputs):
    for node in model.graph.node:
        node.output[:] = [f"out:{number}" if name == output.name else name for name in node.output]
    output.name = f"out:{number}"
del model.graph.output[:]
model.graph.output.extend(outputs)
onnx.save(model, sys.argv[2])
"""
_ORDER = _SPOTS.partition("quantization:")[0] + "targets: [host, onnx-file]\n"


def test_outputs_in_another_order_with_other_names_are_measured_alike(tmp_path: Path) -> None:
    """A given file whose outputs another tool named and ordered is converted, measured and packaged
    like the same network with the head's own names.
    """
    foreign = _ORDER.replace("name: spots", "name: foreign").replace("bright.onnx", "foreign.onnx")
    root = make_workspace(tmp_path / "place", spots=_ORDER, foreign=foreign)
    (root / "targets").mkdir(exist_ok=True)
    (root / "targets" / "onnx-file.yaml").write_text(ONNX_FILE)
    _write_data(root)
    _, python = environments.ensure("evaluate", print)
    environment = tool_environment(python)
    for code, *names in ((NETWORK, "bright"), (_FOREIGN, "bright", "foreign")):
        paths = [str(root / f"{name}.onnx") for name in names]
        subprocess.run([str(python), "-c", code, *paths], check=True, env=environment)
    run = doit(root, store=store_of(root))
    assert run.returncode == 0, run.stderr
    for target, form in (("host", "tflite"), ("onnx-file", "onnx")):
        own, other = (
            read(root / "build" / name / target / "metrics.json")[form]["metrics"]
            for name in ("spots", "foreign")
        )
        assert own == other
        assert own["box.mAP50"] > 0.9
    own, other = (
        [(tensor["name"], tensor["shape"]) for tensor in model["outputs"]]
        for model in (
            read(root / "build" / n / "host" / "model.json") for n in ("spots", "foreign")
        )
    )
    assert own == other


_POINTS = """
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as n, save
rows = np.random.default_rng(0).random((1, 4 + 1 + 12, 189)).astype(np.float32)
rows[:, 5:] *= float(sys.argv[2])
nodes = [h.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
         h.make_node("Add", ["most", "rows"], ["output0"])]
images = [h.make_tensor_value_info("images", T.FLOAT, [1, 3, 96, 96])]
outputs = [h.make_tensor_value_info("output0", T.FLOAT, [1, "rows", "cells"])]
graph = h.make_graph(nodes, "points", images, outputs, [n.from_array(rows, "rows")])
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""


def _judge(folder: Path, model: Path, **params: Any) -> list[str]:
    """What the check of a given file's outputs reports."""
    known = {
        "preprocessing": {"height": _SIDE, "width": _SIDE, "color": "rgb", "resize": "letterbox"},
        "classes": 1,
        "keypoints": 0,
        "keypoint_dims": 0,
        "by_order": True,
        "fetched": True,
    }
    verdict = folder / "verdict.json"
    run_step(
        folder, "evaluate", "check_outputs", {"onnx": model}, {"verdict": verdict}, known | params
    )
    found = read(verdict)
    assert found["passed"] == (not found["failures"])
    return list(found["failures"])


def test_a_fetched_file_is_rejected_where_its_order_would_be_mistaken(tmp_path: Path) -> None:
    """A plan that was made without the file has the head's order; where the file's is another, it is
    rejected before anything wrong is packaged.
    """
    _, python = environments.ensure("evaluate", print)
    own, foreign = tmp_path / "own.onnx", tmp_path / "foreign.onnx"
    for code, *paths in ((NETWORK, own), (_FOREIGN, own, foreign)):
        command = [str(python), "-c", code, *map(str, paths)]
        subprocess.run(command, check=True, env=tool_environment(python))
    order = [f"{kind}_s{stride}" for kind in ("box", "cls") for stride in (8, 16, 32)]
    words = {"head": "raw", "task": "detect", "order": order}
    assert _judge(tmp_path, own, **words) == []
    for by_order in (True, False):
        (problem,) = _judge(tmp_path, foreign, **words, by_order=by_order)
        assert f"in the order {', '.join(reversed(order))}, but the plan" in problem
        assert "give it by `path`" in problem
    (problem,) = _judge(tmp_path, foreign, **words, fetched=False)
    assert "export it with fixed shapes" in problem
    assert _judge(tmp_path, foreign, **words | {"order": order[::-1]}) == []
    (problem,) = _judge(tmp_path, own, **words, classes=2)
    assert "list every class" in problem


_CLASSIFIER = """
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as n, save
nodes = [h.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
         h.make_node("Add", ["mean", "rows"], ["output0" if sys.argv[2] == "raw" else "logits"])]
last = "values" if sys.argv[2] == "rounded" else "output0"
nodes += [h.make_node("Softmax", ["logits"], [last])] * (sys.argv[2] != "raw")
pairs = (("QuantizeLinear", "values", "integers"), ("DequantizeLinear", "integers", "output0"))
nodes += [h.make_node(name, [take, "step", "zero"], [make]) for name, take, make in pairs
          if sys.argv[2] == "rounded"]
images = [h.make_tensor_value_info("images", T.FLOAT, [1, 3, 96, 96])]
outputs = [h.make_tensor_value_info("output0", T.FLOAT, [1, 3])]
weights = [n.from_array(np.array([[-2, 0, 3]], np.float32), "rows"),
           n.from_array(np.array(0.1, np.float32), "step"), n.from_array(np.array(0, np.int8), "zero")]
graph = h.make_graph(nodes, "kinds", images, outputs, weights)
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""


def test_logits_of_a_classifier_are_rejected_as_probabilities(tmp_path: Path) -> None:
    """A decoder that reads probabilities rejects a file that gives logits, not rounded ones."""
    _, python = environments.ensure("evaluate", print)
    words = {"head": "decoded", "task": "classify", "order": ["probabilities"], "classes": 3}
    for ending, problems in (("softmax", 0), ("rounded", 0), ("raw", 1)):
        model = tmp_path / f"{ending}.onnx"
        command = [str(python), "-c", _CLASSIFIER, str(model), ending]
        subprocess.run(command, check=True, env=tool_environment(python))
        found = _judge(tmp_path, model, **words)
        assert len(found) == problems
        assert all("as the probability of a class" in text for text in found)
        assert all("write `decoder: yolov8-raw`" in text for text in found)


def test_keypoints_in_pixels_are_found_in_the_file_itself(tmp_path: Path) -> None:
    """Old exports without a version are rejected by the values that they give."""
    _, python = environments.ensure("evaluate", print)
    words = {"head": "normalized", "task": "pose", "keypoints": 4, "keypoint_dims": 3}
    for factor, problems in ((1, 0), (_SIDE, 1)):
        model = tmp_path / f"{factor}.onnx"
        command = [str(python), "-c", _POINTS, str(model), str(factor)]
        subprocess.run(command, check=True, env=tool_environment(python))
        found = _judge(tmp_path, model, **words, order=["detections"])
        assert len(found) == problems
        assert all("has keypoints in pixels" in text for text in found)


def test_a_fetched_file_in_another_order_is_not_packaged(tmp_path: Path) -> None:
    """A file with a `url` in the head's order is built; another is rejected with what to do."""
    root = tmp_path / "place"
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        _, python = environments.ensure("evaluate", print)
        for code, *names in ((NETWORK, "bright"), (_FOREIGN, "bright", "foreign")):
            paths = [str(tmp_path / f"{name}.onnx") for name in names]
            command = [str(python), "-c", code, *paths]
            subprocess.run(command, check=True, env=tool_environment(python))
        recipes = {}
        for name in ("bright", "foreign"):
            digest = hashlib.sha256((tmp_path / f"{name}.onnx").read_bytes()).hexdigest()
            url = f"http://127.0.0.1:{server.server_port}/{name}.onnx"
            recipes[name] = (
                _ORDER.replace("name: spots", f"name: {name}")
                .replace("{path: bright.onnx}", f'{{url: "{url}", sha256: {digest}}}')
                .replace("[host, onnx-file]", "[onnx-file]")
            )
        make_workspace(root, **recipes)
        (root / "targets").mkdir(exist_ok=True)
        (root / "targets" / "onnx-file.yaml").write_text(ONNX_FILE)
        _write_data(root)
        run = doit(root, store=store_of(root))
        server.shutdown()
    assert run.returncode != 0
    found = statuses(root)
    assert found["bright@onnx-file"] == "built"
    assert found["foreign@onnx-file"].startswith("rejected by outputs: the file has its outputs in")
    assert "give it by `path`" in found["foreign@onnx-file"]
    assert not (root / "build" / "foreign").exists()
