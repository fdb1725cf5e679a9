"""Batches of several images, exported, evaluated, quantized and built with the real tools."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import (
    PICTURES,
    doit,
    draw,
    make_workspace,
    read,
    shared_store,
    statuses,
    tool_environment,
)

pytestmark = pytest.mark.tools

_TINY = """\
name: tiny
source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: random}
input: {size: 64}
evaluate: none
quantization: {scheme: int8, calibration: {images: "pictures/*.bmp", count: 7}}
targets:
  - {target: nvidia-rtx-aot, as: one}
  - {target: nvidia-rtx-aot, as: three, export: {batch: 3}}
  - {target: nvidia-rtx-aot, as: some, export: {batch: {min: 1, opt: 2, max: 4}}}
  - {target: nvidia-rtx-aot, as: half, export: {head: decoded, batch: {min: 2, opt: 2, max: 4}}, quantization: {scheme: float16}}
"""
_TASKS = """\
name: tasks
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
input: {size: 64}
evaluate: none
export: {batch: {min: 1, opt: 2, max: 4}}
matrix:
  kind:
    segment: {source: {task: segment, architecture: yolov8n-seg}}
    segment-decoded: {source: {task: segment, architecture: yolov8n-seg}, export: {head: decoded}}
    classify: {source: {task: classify, architecture: yolov8n-cls}}
    obb: {source: {task: obb, architecture: yolov8n-obb}}
    obb-decoded: {source: {task: obb, architecture: yolov8n-obb}, export: {head: decoded}}
    shares: {export: {head: normalized}}
    yolox: {source: {family: yolox, architecture: yolox-nano}, export: {head: decoded}}
targets: [nvidia-rtx-aot]
"""
_READ = """
import json, sys; sys.path.insert(0, sys.argv[1])
import numpy as np, onnx, onnxruntime
from pathlib import Path
from buildsys.steps.lib.networks import onnx_session
from onnx import numpy_helper
builds = json.loads(sys.argv[2])
rng = np.random.default_rng(0)
pictures = rng.integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
answers = {b: onnx_session.network(Path(f["onnx"]))(pictures[1]) for b, f in builds.items()}
open_file = onnxruntime.InferenceSession(builds["some"]["onnx"], providers=["CPUExecutionProvider"])
given = pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
together = open_file.run(None, {"images": given})
def scales(path):
    tensors = onnx.load(path).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in tensors if t.name.endswith("_scale")}
one, others = scales(builds["one"]["quantized-onnx"]), {}
for build in ("three", "some"):
    found = scales(builds[build]["quantized-onnx"])
    assert found.keys() == one.keys()
    others[build] = max(float(np.max(np.abs(found[n] - one[n]) / one[n])) for n in one)
worst = lambda pairs: max(float(np.abs(a - b).max()) for a, b in pairs)
print(json.dumps({
    "shapes": {b: {n: v.shape for n, v in a.items()} for b, a in answers.items()},
    "three": worst((answers["three"][n], v) for n, v in answers["one"].items()),
    "some": worst((answers["some"][n], v) for n, v in answers["one"].items()),
    "row": worst((v[1:2], answers["one"][n]) for n, v in zip(answers["one"], together)),
    "scales": others,
}))
"""

_COUNTING = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch
from buildsys.spec import Preprocessing
from buildsys.steps.lib.families import onnx_export
from buildsys.steps.lib.runtime.progress import StepError
class Counting(torch.nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) * (1 if int(x.shape[0]) < 3 else 2)
frame = Preprocessing(height=64, width=64, color="rgb", resize="letterbox")
network, target, batch = Counting(), Path("counting.onnx"), (1, 2, 4)
onnx_export.export(network, frame, 13, ("mean",), target, batch)
try:
    onnx_export.compare(onnx_export.ask(network), None, frame, ("mean",), target, batch)
except StepError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with the four engines. Read-only."""
    root = make_workspace(tmp_path_factory.mktemp("batches") / "place", tiny=_TINY)
    draw(root / "pictures", 64, PICTURES)  # as in `person`: one export serves both
    run = doit(root)
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


@pytest.mark.parametrize(("build", "first"), [("one", 1), ("three", 3), ("some", -1), ("half", -1)])
def test_an_engine_s_first_axis_is_the_batch(built: Path, build: str, first: int) -> None:
    """The first axis of an engine's input is the recipe's batch."""
    facts = read(built / "build" / "tiny" / build / "engine.json")
    assert facts["inputs"][0]["shape"] == [first, 3, 64, 64]
    assert {tensor["shape"][0] for tensor in facts["outputs"]} == {first}
    assert all(side > 0 for tensor in facts["outputs"] for side in tensor["shape"][1:])


def test_the_export_is_compared_on_more_than_one_image(tmp_path: Path) -> None:
    """The export is compared with more images than it was traced with."""
    _, python = environments.ensure("ultralytics", print)
    run = subprocess.run(
        [str(python), "-c", _COUNTING, str(REPOSITORY)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 0, run.stderr
    said = "the ONNX export, 3 at once, changed what the model computes: mean by"
    assert run.stdout.splitlines()[-1].startswith(said)


def _blobs(root: Path, build: str) -> dict[str, str]:
    """The exported and the quantized file, in the store."""
    steps = read(root / "build" / "tiny" / build / "manifest.json")["steps"]
    digests = {name: d for s in steps for name, d in s["outputs"].items()}
    store = Store(shared_store())
    return {name: str(store.blob(digests[name])) for name in ("onnx", "quantized-onnx")}


def test_every_batch_reads_as_one_image(built: Path, tmp_path: Path) -> None:
    """An image's result does not depend on the batch, in evaluation and in calibration."""
    _, python = environments.ensure("evaluate", print)
    files = {build: _blobs(built, build) for build in ("one", "three", "some")}
    command = [str(python), "-c", _READ, str(REPOSITORY), json.dumps(files)]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    assert found["shapes"]["one"] == found["shapes"]["three"] == found["shapes"]["some"]
    assert {shape[0] for shape in found["shapes"]["some"].values()} == {1}
    assert max(found["three"], found["some"], found["row"]) < 1e-4
    assert max(found["scales"].values()) < 1e-4


def test_all_tasks_and_heads_take_an_open_batch(tmp_path: Path) -> None:
    """Networks of all tasks and heads accept an open batch."""
    root = make_workspace(tmp_path / "place", tasks=_TASKS)
    run = doit(root)
    assert run.returncode == 0, run.stderr
    assert set(statuses(root).values()) == {"built"}
    for place in sorted((root / "build").glob("tasks-*/nvidia-rtx-aot")):
        facts = read(place / "engine.json")
        shapes = [tensor["shape"] for tensor in (*facts["inputs"], *facts["outputs"])]
        assert {shape[0] for shape in shapes} == {-1}, place
