"""Firmware contracts with the real tools: compatible files are built, others rejected with a
reason.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.execution.tools import environments
from buildsys.registry import shipped_targets
from tests.tools.bright import LIVELY
from tests.tools.places import (
    START,
    doit,
    draw,
    make_workspace,
    read,
    statuses,
    tool_environment,
)
from tests.tools.single_steps import examine, make_noise

pytestmark = pytest.mark.tools

EYES = f"""\
name: eyes
source:
  family: ultralytics
  task: detect
  architecture: yolov8n
  weights: {{path: start.pt, sha256: {START}}}
dataset: {{generator: fiducials, train: 48, val: 4, size: 96, seed: 5, min_side: 24, max_side: 80}}
input: {{size: 96}}
train: {{epochs: 2, batch: 8, learning_rate: 0.001}}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {{split: train, count: 12}}
evaluate: none
targets:
  - {{target: grove-vision-ai-v2, as: himax, firmware: himax-yolov8-od}}
  - {{target: grove-vision-ai-v2, as: one-output, firmware: sscma-1.0-yolov8}}
  - {{target: grove-vision-ai-v2, as: small, firmware: small-arena}}
"""
"""One training for both heads that the firmwares need, and for a board with too little memory."""

BLIND = """\
name: blind
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
input: {size: 96}
evaluate: none
export: {head: decoded}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {images: "pictures/*.bmp", count: 2}
targets: [host]
"""
"""Ultralytics' standard export: one output, with boxes in pixels."""

STOCK = """\
name: stock
source: {family: tflite, weights: {path: stock.tflite, sha256: SHA}}
targets:
  - {target: grove-vision-ai-v2, as: sscma, firmware: sscma-1.0-yolov8}
"""
HIMAX = STOCK.replace("sscma, firmware: sscma-1.0-yolov8", "himax, firmware: himax-yolov8-od")

MIXED = """\
name: mixed
source:
  family: onnx
  task: detect
  weights: {path: mixed.onnx}
  decoder: yolov8-raw
  classes: [spot]
input: {size: 96}
evaluate: none
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {images: "pictures/*.bmp", count: 2}
targets: [xiao-esp32s3]
"""
ATTENTION = """\
head = next(node for node in nodes if node.output[0] == "box_s32")
head.output[0] = "plain"
values.append(n.from_array(np.array(2.6e-3, np.float32), "share"))
nodes += [
    h.make_node("MatMul", ["plain", "box_s32.2"], ["alike"], name="/attention/MatMul"),
    h.make_node("Mul", ["alike", "share"], ["weights"]),
    h.make_node("MatMul", ["weights", "plain"], ["mixed"], name="/attention/MatMul_1"),
    h.make_node("Mul", ["mixed", "share"], ["box_s32"]),
]
"""
"""Two products of activations, as in YOLO11."""

ARENA_KIB = 100


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A workspace in which detection networks were built for firmwares, and each build's status."""
    root = make_workspace(tmp_path_factory.mktemp("contracts") / "eyes", eyes=EYES, blind=BLIND)
    draw(root / "pictures", 96, 2)
    (root / "targets" / "firmware").mkdir(parents=True)
    contract = (shipped_targets() / "firmware" / "himax-yolov8-od.yaml").read_text()
    contract = contract.replace("name: himax-yolov8-od", "name: small-arena")
    contract = re.sub(r"(?m)^arena_kib: \d+", f"arena_kib: {ARENA_KIB}", contract)
    (root / "targets" / "firmware" / "small-arena.yaml").write_text(contract)
    run = doit(root, "-n", "2")
    assert run.returncode == 11, run.stderr
    yield root, statuses(root)
    shutil.rmtree(root)


@pytest.mark.parametrize(
    ("build", "decoder", "shapes"),
    [
        ("himax", "himax-od", [[1, 4, 189], [1, 189, 2]]),
        ("one-output", "sscma-yolov8", [[1, 6, 189]]),
    ],
)
def test_a_firmware_gets_the_head_that_it_decodes(
    eyes: tuple[Path, dict[str, str]], build: str, decoder: str, shapes: list[list[int]]
) -> None:
    """A compatible file is built, and the emulated decoder finds the file's objects."""
    root, became = eyes
    assert became[f"eyes@{build}"] == "built"
    folder = root / "build" / "eyes" / build
    assert [tensor["shape"] for tensor in read(folder / "model.json")["outputs"]] == shapes
    *_, last = read(folder / "manifest.json")["evidence"]["parity"]["rungs"]
    assert (last["to"], last["passed"]) == ("decoder", True)
    found = last["detections"]
    assert found["decoder"] == decoder
    assert found["candidates"] > 0, "nothing was decoded: the rung has shown nothing"


def test_a_model_that_does_not_fit_is_reported_with_both_figures(
    eyes: tuple[Path, dict[str, str]],
) -> None:
    """A file that exceeds the memory is rejected with both sizes; other builds are published."""
    root, became = eyes
    told = re.fullmatch(
        r"rejected by fit: it needs (\d+) KiB of tensor arena \(by .*\), small-arena has (\d+) KiB; (.*)",
        became["eyes@small"],
    )
    assert told is not None, became["eyes@small"]
    assert int(told[1]) > int(told[2]) == ARENA_KIB
    assert "`buildsys fit eyes@small`" in told[3]
    kept = root / "build" / ".rejected" / "eyes@small"
    assert {path.name for path in kept.iterdir()} == {"eyes_vela.tflite", "verdict.json"}
    assert not (root / "build" / "eyes" / "small").exists()


@pytest.fixture(scope="module")
def stock(eyes: tuple[Path, dict[str, str]]) -> Path:
    """That workspace with a recipe whose source is the standard export."""
    root, became = eyes
    # the file is rejected for every target
    assert became["blind@host"].startswith("rejected by signal: detections [1, 84, 189] holds")
    shutil.copyfile(root / "build/.rejected/blind@host/blind.tflite", root / "stock.tflite")
    digest = hashlib.sha256((root / "stock.tflite").read_bytes()).hexdigest()
    (root / "recipes" / "stock.yaml").write_text(STOCK.replace("SHA", digest))
    return root


def reject(root: Path, build: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run a build that must be rejected; return the run and the status."""
    run = doit(root, f"build:{build}")
    assert run.returncode == 11, run.stderr
    return run, statuses(root)[build]


def test_a_stock_export_is_refused_before_the_compiler(
    stock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A standard export is rejected with both layouts and what to change (problem 1)."""
    recipe = stock / "recipes" / "himax.yaml"
    digest = hashlib.sha256((stock / "stock.tflite").read_bytes()).hexdigest()
    recipe.write_text(HIMAX.replace("name: stock", "name: himax").replace("SHA", digest))
    assert cli.main(["-C", str(stock), "check"]) == 2
    recipe.unlink()
    assert (
        "error: stock.tflite: firmware himax-yolov8-od (Himax tflm_yolov8_od on WE2) decodes other"
        " outputs than the file has: expected 2 outputs in this order: boxes int8 [1, 4, 189],"
        " scores int8 [1, 189, nc]; actual 1 output: detections int8 [1, 84, 189]. To change: export"
        " the split head"
    ) in capsys.readouterr().out


def test_one_scale_for_boxes_and_scores_is_refused(stock: Path) -> None:
    """One scale for pixels and scores is rejected, even if the firmware decodes the layout (problem
    6).
    """
    _, told = reject(stock, "stock@sscma")
    assert told.startswith(
        "rejected by signal: detections [1, 84, 189] holds boxes and scores in one int8 tensor with"
    )
    assert "Cure: export the raw head, as buildsys does from a .pt file" in told
    assert "normalized to 0..1" in told


@pytest.mark.parametrize("trained", [False, True])
def test_int8_destroys_the_outputs_of_a_stock_export(
    stock: Path, tmp_path: Path, trained: bool
) -> None:
    """One scale for pixels and scores is rejected on other targets, too (problem 6); the raw head
    passes in test_pipeline.
    """
    noise = make_noise(tmp_path / "noise", 96)
    verdict = examine(tmp_path, stock / "stock.tflite", noise, classes=80, trained=trained)
    (told,) = verdict["failures"]
    assert told.startswith("detections [1, 84, 189] holds boxes and scores in one int8 tensor")
    assert "export the raw head, as buildsys does from a .pt file" in told
    assert verdict["outputs"][0]["score_steps"] < 16


def test_an_operator_that_the_firmware_lacks_is_named(tmp_path: Path) -> None:
    """An operator that the firmware lacks is rejected with its layer."""
    root = make_workspace(tmp_path / "mixed", mixed=MIXED)
    draw(root / "pictures", 96, 2)
    _, python = environments.ensure("onnx2tf", print)
    network = LIVELY.replace("outputs.sort(", f"{ATTENTION}outputs.sort(")
    command = [str(python), "-c", network, str(root / "mixed.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    _, told = reject(root, "mixed@xiao-esp32s3")
    assert told.startswith(
        "rejected by operators: firmware sscma-1.0-esp32s3-world does not register BATCH_MATMUL ("
    )
    assert re.search(r"BATCH_MATMUL \(2: \S+/MatMul\S*, \S+/MatMul\S*\), in the file", told), told
