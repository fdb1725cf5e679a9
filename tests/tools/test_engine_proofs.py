"""Accuracy and latency of an engine, with a stand-in for GPU and TensorRT.

`_RUNTIME` takes the place of the runtime that packages ship, and runs an ONNX file by onnxruntime.
What is tried is our own plumbing: requests, pipes, sentences, exit codes, and that the figures are
those of evaluate_onnx. Nothing is said of an engine.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.digest import digest_file
from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.steps.lib.tensorrt.host_library import VARIABLE
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools

_RUNTIME = """
import os
import numpy as np
import onnxruntime

class Refused(Exception):
    pass

class Engine:
    version, gpu = "10.3.0.30", "a stand-in"

    def __init__(self, path, least):
        self.least = least
        self.session = onnxruntime.InferenceSession(str(path))
        self.names = [output.name for output in self.session.get_outputs()]

    def infer(self, batch):
        print("the library talks on stdout")
        assert len(batch) == self.least, batch.shape
        if batch.mean() > 0.9:
            os._exit(9)
        runs = [self.session.run(None, {"images": picture[None]}) for picture in batch]
        return {n: np.concatenate([r[i] for r in runs]) for i, n in enumerate(self.names)}

    def time(self, batch, warmup, runs):
        assert batch.dtype == np.float32 and batch.max() <= 1, (batch.dtype, batch.max())
        count = float(len(batch))
        return {"engine": [count, count * 3] * (runs // 2), "end_to_end": [count * 9] * runs}

def open_engine(facts, path):
    if facts["version"] != "10.3.0.30":
        raise Refused("the engine was built by TensorRT " + facts["version"])
    return Engine(path, facts["least"])
"""
_DRAW = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np, cv2, onnx
from onnx import TensorProto, helper, numpy_helper
from pathlib import Path
root = Path(sys.argv[2])
for name in ("images", "labels"):
    (root / "data" / name / "val").mkdir(parents=True)
for index in range(3):
    shade = np.full((32, 32, 3), 60 * index, np.uint8)
    cv2.imwrite(str(root / "data" / "images" / "val" / f"{index}.png"), shade)
    (root / "data" / "labels" / "val" / f"{index}.txt").write_text("0 0.5 0.5 0.6 0.4")
cv2.imwrite(str(root / "white.png"), np.full((32, 32, 3), 255, np.uint8))
# two boxes of a decoded head [1, 4 + 1, 2]: one sure, one not
head = np.array([[[16, 8], [16, 8], [20, 4], [12, 4], [0.9, 0.1]]], np.float32)
nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
         helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
         helper.make_node("Add", ["nothing", "head"], ["detections"])]
weights = [numpy_helper.from_array(head, "head"), numpy_helper.from_array(np.float32(0), "zero")]
ends = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32]),
        helper.make_tensor_value_info("detections", TensorProto.FLOAT, [1, 5, 2])]
graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(model, str(root / "model.onnx"))
"""
_READING: dict[str, Any] = {
    "split": {"name": "val", "paths": ["images/val"]},
    "classes": ["tag"],
    "keypoints": 0,
    "keypoint_dims": 0,
    "sigmas": [],
    "head": "decoded",
    "task": "detect",
    "preprocessing": {"height": 32, "width": 32, "color": "rgb", "resize": "letterbox"},
}
_LIBRARY = {"name": "tensorrt", "version": "10.3", "compute_capability": "8.7"}
_TIMING: dict[str, Any] = {
    "library": _LIBRARY,
    "batches": [1, 8],
    "height": 32,
    "width": 32,
    "runs": 4,
    "warmup": 2,
    "machine": "a stand-in, Example CPU",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, a split of three images, an engine's facts and the stand-in."""
    root = tmp_path_factory.mktemp("proofs")
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", _DRAW, str(REPOSITORY), str(root)]
    subprocess.run(command, check=True, env=tool_environment(python, root))
    for name, version, least in (
        ("1", "10.3.0.30", 1),
        ("4", "10.3.0.30", 4),
        ("older", "10.2.0.1", 1),
    ):
        facts = {"library": "tensorrt", "version": version, "least": least}
        (root / f"{name}.json").write_text(json.dumps(facts))
    (root / "runtime").mkdir()
    (root / "runtime" / "runtime.py").write_text(_RUNTIME)
    return root


def run(
    place: Path, work: Path, module: str, params: dict[str, Any], output: str, **given: str
) -> subprocess.CompletedProcess[str]:
    """Run a step by its launcher, with the environment's Python as the machine's."""
    work.mkdir(parents=True, exist_ok=True)
    _, python = environments.ensure("evaluate", print)
    known = {
        "engine": "model.onnx",
        "engine-facts": "1.json",
        "templates": "runtime",
        "dataset": "data",
        "onnx": "model.onnx",
    }
    inputs = {name: str(place / path) for name, path in {**known, **given}.items()}
    request = {
        "inputs": inputs,
        "outputs": {output: str(work / f"{output}.json")},
        "params": params,
        "error": str(work / "error.txt"),
    }
    (work / "request.json").write_text(json.dumps(request))
    environment = tool_environment(python, work) | {VARIABLE: str(python)}
    command = [str(python), "-s", str(LAUNCHER), module, str(work / "request.json")]
    return subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def read(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text())


@pytest.mark.parametrize("least", [1, 4])
def test_figures_are_those_of_the_same_network_as_onnx(
    place: Path, tmp_path: Path, least: int
) -> None:
    """An engine with the same outputs has the accuracy of its ONNX file."""
    done = run(place, tmp_path / "onnx", "evaluate_onnx", _READING, "metrics")
    assert done.returncode == 0, done.stderr
    params = {"reading": _READING, "library": _LIBRARY, "least": least}
    facts = {"engine-facts": f"{least}.json"}
    done = run(place, tmp_path / "engine", "evaluate_engine", params, "evidence", **facts)
    assert done.returncode == 0, done.stderr
    assert "the library talks on stdout" in done.stderr
    expected = read(tmp_path / "onnx" / "metrics.json")
    found = read(tmp_path / "engine" / "evidence.json")
    assert found["metrics"] == expected["metrics"]
    assert found["metrics"]["box.mAP50-95"] > 0.3
    assert found["model"] == {"format": "engine", "sha256": digest_file(place / "model.onnx")}
    assert found["device"] == "a stand-in, TensorRT 10.3.0.30"


def test_times_carry_their_batch_and_what_they_are_of(place: Path, tmp_path: Path) -> None:
    """Latency is recorded per batch, with and without copies."""
    done = run(place, tmp_path, "benchmark_engine", _TIMING, "latency")
    assert done.returncode == 0, done.stderr
    entries = read(tmp_path / "latency.json")["entries"]
    assert [(e["batch"], e["what"], e["mean_ms"]) for e in entries] == [
        (1, "engine only", 2.0),
        (1, "end to end", 9.0),
        (8, "engine only", 16.0),
        (8, "end to end", 72.0),
    ]
    first = entries[0]
    assert (first["min_ms"], first["max_ms"], first["p50_ms"]) == (1.0, 3.0, 2.0)
    assert (first["runs"], first["warmup"], first["label"]) == (4, 2, "measured here")
    assert (first["device"], first["gpu"]) == ("a stand-in, Example CPU", "a stand-in")
    assert first["sha256"] == digest_file(place / "model.onnx")


@pytest.mark.parametrize("module", ["evaluate_engine", "benchmark_engine"])
def test_what_the_loader_refuses_is_one_sentence(place: Path, tmp_path: Path, module: str) -> None:
    """A failure of the device's program is reported in one sentence."""
    accuracy = {"reading": _READING, "library": _LIBRARY, "least": 1}
    params, output = (accuracy, "evidence") if module == "evaluate_engine" else (_TIMING, "latency")
    done = run(place, tmp_path, module, params, output, **{"engine-facts": "older.json"})
    assert done.returncode == 3
    assert (tmp_path / "error.txt").read_text() == (
        "the engine cannot be run here: the engine was built by TensorRT 10.2.0.1."
    )


def test_a_child_that_ends_in_the_middle_is_reported(place: Path, tmp_path: Path) -> None:
    """A crash of the GPU's library fails the step."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / kind / "val").mkdir(parents=True)
    (tmp_path / "data" / "images" / "val" / "white.png").symlink_to(place / "white.png")
    (tmp_path / "data" / "labels" / "val" / "white.txt").write_text("0 0.5 0.5 0.6 0.4")
    params = {"reading": _READING, "library": _LIBRARY, "least": 1}
    data = str(tmp_path / "data")
    done = run(place, tmp_path / "work", "evaluate_engine", params, "evidence", dataset=data)
    assert done.returncode == 3
    told = (tmp_path / "work" / "error.txt").read_text()
    assert "ended with exit code 9" in told
    assert not (tmp_path / "work" / "evidence.json").exists()
