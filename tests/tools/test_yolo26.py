"""YOLO26 with the real tools: one training, both branches, a package without suppression.

That every size and task has the heads that are described: test_architectures.py.
"""

import json
from pathlib import Path

import pytest

from tests.tools.board_program import check_alike, report_both
from tests.tools.test_tasks import call, figures
from tests.tools.ultralytics_peer import COUNTED, check_detections, compare, fetch_inputs

pytestmark = pytest.mark.tools

RECIPE = """\
name: shapes-detect
source: {family: ultralytics, task: detect, architecture: yolo26n, weights: random}
dataset: {generator: shapes, train: 150, val: 40, size: 96}
input: {size: 96}
train: {epochs: 4, batch: 4, learning_rate: 0.004}
quantization: {scheme: float32}
targets:
  - {target: triton-onnx, as: one, export: {head: decoded}}
  - {target: triton-onnx, as: many, export: {head: decoded, branch: one-to-many}}
  - target: raspberry-pi-5
    as: board
    quantization: {scheme: int8, calibration: {split: train, count: 40}}
"""
MAIN = "box.mAP50-95"
HEADS = {"one": "decoded-one-to-one", "many": "decoded"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one training built for two branches and a board."""
    root = tmp_path_factory.mktemp("yolo26")
    (root / "recipes").mkdir()
    (root / "recipes" / "shapes-detect.yaml").write_text(RECIPE)
    run = call(root, "buildsys", "build")
    assert run.returncode == 0, run.stdout + run.stderr
    return root


@pytest.mark.parametrize("target", HEADS)
def test_either_branch_has_the_accuracy_of_the_checkpoint(built: Path, target: str) -> None:
    """Ultralytics' own choice of the checkpoint's best cells, or its boxes suppressed; ours of ONNX."""
    found = figures(built, "detect", target)
    assert found["checkpoint"][MAIN] > 0.05
    for name, value in found["checkpoint"].items():
        assert found["onnx"][name] == pytest.approx(value, abs=1e-3), name


@pytest.mark.parametrize("target", HEADS)
def test_ultralytics_measures_as_much_of_either_branch(
    built: Path, target: str, tmp_path: Path
) -> None:
    """Its `val` with and without suppression; and what its `predict` sees."""
    found = compare(built, f"shapes-detect/{target}", tmp_path, head=HEADS[target])
    if target == "many":
        check_detections(found, 5)
    theirs = found.get(COUNTED, found["val"])
    assert found["ours"][MAIN] == pytest.approx(theirs[MAIN], abs=3e-3)


def test_a_package_suppresses_nothing(built: Path, tmp_path: Path) -> None:
    """The package's program finds the same objects as `buildsys predict`, with the one-to-one head."""
    package = built / "build" / "shapes-detect" / "board"
    model = json.loads((package / "model.json").read_text())
    assert model["head"] == "yolo26-raw-one-to-one"
    assert [row["shape"] for row in model["outputs"] if row["name"] == "box_s8"] == [[1, 144, 4]]
    assert "no suppression is needed" in (package / "README.md").read_text()
    found = figures(built, "detect", "board")
    assert found["tflite"][MAIN] > 0.5 * found["checkpoint"][MAIN]
    fetch_inputs(built, "shapes-detect/board", tmp_path)
    images = sorted((tmp_path / "data" / "images" / "val").rglob("*.*"))[::4]
    check_alike(*report_both(built, "shapes-detect@board", images, tmp_path), 1)
