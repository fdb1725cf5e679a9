"""Ultralytics trainings on images of 64 px: validated, killed, resumed."""

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.steps.lib.report import training_reading
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment
from tests.tools.yolox_place import CLASSES, draw_dataset

pytestmark = pytest.mark.tools

PARAMS: dict[str, Any] = {
    "task": "detect",
    "architecture": "yolov8n",
    "size": 64,
    "epochs": 5,
    "batch": 4,
    "seed": 0,
    "learning_rate": 0.002,
    "mosaic": 0.5,
    "flip": 0.5,
    "scale": 0.3,
    "quantization_aware": "per-tensor",
    "validate": 2,
    "patience": 3,
    "smooth_visibility": False,
    "options": {"close_mosaic": 2, "degrees": 10.0},
    "threads": 1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images for training and validation. Read-only."""
    root = draw_dataset(tmp_path_factory.mktemp("data") / "set")
    names = json.dumps(dict(enumerate(CLASSES)))
    (root / "data.yaml").write_text(f"train: images\nval: images\nnames: {names}\n")
    return root


def start(scratch: Path, data: Path) -> subprocess.Popen[str]:
    """Start or resume the training in its scratch folder."""
    _, python = environments.ensure("ultralytics", print)
    scratch.mkdir(exist_ok=True)
    (scratch / "checkpoint").unlink(missing_ok=True)  # as the runner does
    shutil.rmtree(scratch / "training", ignore_errors=True)
    request = {
        "inputs": {"dataset": str(data)},
        "outputs": {name: str(scratch / name) for name in ("checkpoint", "training")},
        "params": PARAMS,
        "error": str(scratch / "error.txt"),
    }
    (scratch / "request.json").write_text(json.dumps(request))
    return subprocess.Popen(
        [str(python), "-s", str(LAUNCHER), "train_ultralytics", str(scratch / "request.json")],
        cwd=scratch,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=tool_environment(python, scratch),
    )


def kill_after(epoch: int, scratch: Path, data: Path) -> None:
    """Kill a training after an epoch."""
    step = start(scratch, data)
    assert step.stdout is not None
    while not any(line.startswith(f"epoch {epoch} ") for line in iter(step.stdout.readline, "")):
        assert step.poll() is None, step.communicate()[1][-2000:]
        time.sleep(0.005)
    step.kill()
    step.communicate()


def finish(scratch: Path, data: Path) -> str:
    """Resume a training; return its messages."""
    step = start(scratch, data)
    said, errors = step.communicate()
    assert step.returncode == 0, errors[-2000:]
    return said


def test_a_killed_training_ends_in_the_same_bytes(tmp_path: Path, data: Path) -> None:
    """Rounding, mosaics until they end, validation, the best epoch, patience, order of images.

    Killed before the mosaics end, as they do, after it, and when only the files are to be written.
    """
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    said = finish(whole, data)
    for epoch in (1, 3, 4, 5):
        kill_after(epoch, pieces, data)
    assert finish(pieces, data) == ""
    for path in sorted(path for path in whole.rglob("*") if path.is_file()):
        if path.relative_to(whole).parts[0] in ("checkpoint", "training"):
            assert (pieces / path.relative_to(whole)).read_bytes() == path.read_bytes(), path
    rows, summary = training_reading.read(whole / "training")
    assert [n for n, row in enumerate(rows, 1) if "metrics/mAP50-95(B)" in row] == [2, 4, 5]
    assert (len(rows), summary.ran, summary.validated_every) == (5, 5, 2)
    assert summary.kept == summary.best
    assert len(list((whole / "training" / "examples").glob("*.jpg"))) == 4
    lines = said.splitlines()
    assert lines[0] == "yolov8n: 8 images, 5 epochs of batch 4 at 64 px on cpu"
    assert all(line.startswith(("epoch ", "stopped: ")) for line in lines[1:])
    assert not any("\x1b" in line for line in lines)


LACK = """
import json, os, sys, torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from buildsys.steps import train_ultralytics
from buildsys.steps.lib.runtime.launcher import rebuild
from buildsys.steps.lib.runtime.progress import StepError
data, root, params, limit = sys.argv[2:]
os.chdir(root)
backward, batches = torch.Tensor.backward, []
def lack(*given):
    batches.append(given)
    if len(batches) == int(limit):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    return backward(*given)
torch.Tensor.backward = lack
try:
    outputs = {"checkpoint": Path("x.pt"), "training": Path("curves")}
    params = rebuild(train_ultralytics.Params, json.loads(params))
    train_ultralytics.run({"dataset": Path(data)}, outputs, params)
except StepError as error:
    print(error)
"""


@pytest.mark.parametrize("batch", [1, 3])
def test_a_training_that_runs_out_of_memory(tmp_path: Path, data: Path, batch: int) -> None:
    """The message names the batch in every epoch; Ultralytics halves it in the first one."""
    _, python = environments.ensure("ultralytics", print)
    words = [str(data), str(tmp_path), json.dumps(PARAMS | {"validate": 0}), str(batch)]
    done = subprocess.run(
        [str(python), "-c", LACK, str(REPOSITORY), *words],
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    expected = "memory does not hold a batch of 4 at 64 px; write a smaller train.batch."
    assert done.stdout.splitlines()[-1:] == [f"the machine's {expected}"], done.stderr[-2000:]
