"""A network whose outputs are lost in a lower precision is reported, and no engine is built."""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from tests.tools.bright import NETWORK
from tests.tools.places import doit, make_workspace, read, statuses, store_of, tool_environment

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


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network calibrated on images like those it works on, and on images of the night. Only
    read.
    """
    root = make_workspace(tmp_path_factory.mktemp("precision") / "place", spots=_SPOTS)
    for folder in ("dark", "data/images/val", "data/labels/val"):
        (root / folder).mkdir(parents=True)
    (root / "data" / "data.yaml").write_text("val: images/val\nnames: {0: spot}\n")
    for index in range(4):
        column = 16 * (index + 1)
        (root / "dark" / f"{index}.bmp").write_bytes(_bitmap(40, 40, column))
        (root / "data/images/val" / f"{index}.bmp").write_bytes(_bitmap(60, 255, column))
        label = f"0 {(column + 4) / _SIDE} {36 / _SIDE} {16 / _SIDE} {16 / _SIDE}\n"
        (root / "data/labels/val" / f"{index}.txt").write_text(label)
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", NETWORK, str(root / "bright.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    run = doit(root, store=store_of(root))
    assert run.returncode == 11, run.stderr
    yield root
    shutil.rmtree(root)


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
    constant = "cls_s8 is constant: the same in all 144 cells of 4 pictures"
    assert told["spots-dark@nvidia-rtx-aot"].startswith(f"rejected by signal: {constant}")
    logs = judged / "build" / "spots-dark" / "nvidia-rtx-aot" / "logs"
    assert not (logs / "engine.log").exists()
    folder = judged / "build" / ".rejected" / "spots-dark@nvidia-rtx-aot"
    assert sorted(path.name for path in folder.iterdir()) == ["spots-dark.onnx", "verdict.json"]
    (failure,) = read(folder / "verdict.json")["failures"]
    assert failure.startswith(constant)
    assert "Cure: keep more digits (`scheme: float16`); or calibrate on more pictures" in failure


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
