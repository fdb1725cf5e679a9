"""From torch to TFLite without ONNX, with the real tools: the same edges and operators as by TensorFlow."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.steps.lib.files import tflite
from tests.conftest import REPOSITORY
from tests.tools.places import START, doit, make_workspace, read
from tests.tools.single_steps import make_noise, run_step

pytestmark = pytest.mark.tools

_TORCH = f"""\
name: torch
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {{path: start.pt, sha256: {START}}}
dataset: {{generator: fiducials, train: 48, val: 4, size: 96, seed: 5, min_side: 24, max_side: 80}}
input: {{size: 96}}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {{split: train, count: 12}}
evaluate: none
convert: {{tool: litert-torch}}
targets: [grove-vision-ai-v2, xiao-esp32s3]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained network for two boards. Only read."""
    root = make_workspace(tmp_path_factory.mktemp("torch") / "place", torch=_TORCH)
    run = doit(root)
    assert run.returncode == 0, run.stdout + run.stderr
    yield root / "build" / "torch"
    shutil.rmtree(root)


def _rungs(folder: Path) -> list[tuple[str, str, bool]]:
    parity: dict[str, Any] = read(folder / "manifest.json")["evidence"]["parity"]
    return [(rung["from"], rung["to"], rung["passed"]) for rung in parity["rungs"]]


@pytest.mark.parametrize("board", ["grove-vision-ai-v2", "xiao-esp32s3"])
def test_two_boards_take_a_network_that_never_was_onnx(built: Path, board: str) -> None:
    """Firmware contract, registered operators, TFLite Micro and the firmware's decoder agree."""
    manifest = read(built / board / "manifest.json")
    tools = {step["stage"]: step["tool"].split(" ")[0] for step in manifest["steps"]}
    assert tools["trace"] == "ultralytics"
    assert tools["convert"] == tools["quantize"] == "litert-torch"
    assert "export" not in tools
    assert _rungs(built / board) == [
        ("checkpoint", "float-tflite", True),
        ("float-tflite", "tflite", True),
        ("tflite", "tflm", True),
        ("tflm", "decoder", True),
    ]
    for name in ("contract", "signal", "operators"):
        assert manifest["evidence"][name]["passed"], name


def test_the_file_reads_as_the_other_converters_do(built: Path) -> None:
    """Names, types and the scale of the image; weights where instructions can load them."""
    file = tflite.read(built / "xiao-esp32s3" / "torch.tflite")
    (image,) = file.inputs
    assert (image.name, image.shape, image.dtype) == ("images", (1, 96, 96, 3), "int8")
    assert image.scales == pytest.approx([1 / 255])
    assert image.zero_points == (-128,)
    assert {output.name for output in file.outputs} == {
        *(f"{kind}_s{stride}" for kind in ("box", "cls") for stride in (8, 16, 32)),
        "keypoints",
    }
    assert {output.dtype for output in file.outputs} == {"int8"}
    assert not {"QUANTIZE", "DEQUANTIZE", "SLICE", "TRANSPOSE"} & set(dict(file.operators))


_SCHEMES = {
    "float32": "float32",
    "float16": "float32",
    "dynamic-range": "float32",
    "int8": "int8",
    "int16x8": "float32",
}
"""Scheme -> type of inputs and outputs."""
_FRAME = {"height": 64, "width": 64, "color": "rgb", "resize": "letterbox"}


def test_another_head_is_traced_and_quantized_in_every_scheme(tmp_path: Path) -> None:
    """The split head computes with single strides; each scheme keeps the names of its outputs."""
    program, converted = tmp_path / "network.pt2", tmp_path / "network.tflite"
    names = {"output_names": ["boxes", "scores"], "preprocessing": _FRAME}
    checkpoint = REPOSITORY / "weights" / "fiducials-start.pt"
    trace = {**names, "task": "pose", "head": "split"}
    inputs = {"checkpoint": checkpoint}
    run_step(tmp_path, "ultralytics", "trace_ultralytics", inputs, {"program": program}, trace)
    made = {"float-tflite": converted}
    run_step(tmp_path, "litert-torch", "convert_litert_torch", {"program": program}, made, names)
    noise = make_noise(tmp_path / "noise", 64)
    for scheme, dtype in _SCHEMES.items():
        quantization = {"scheme": scheme, "granularity": "per-channel", "io": dtype}
        params = {"quantization": quantization, "preprocessing": _FRAME}
        target = tmp_path / f"{scheme}.tflite"
        given = {"float-tflite": converted, "calibration": noise}
        run_step(
            tmp_path, "litert-torch", "quantize_litert_torch", given, {"tflite": target}, params
        )
        file = tflite.read(target)
        assert [output.name for output in file.outputs] == ["boxes", "scores"], scheme
        assert {edge.dtype for edge in (*file.inputs, *file.outputs)} == {dtype}, scheme
