"""Workspaces that several test files use, made once per run in the shared store."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsys.execution.tools import environments
from tests.tools.bright import BRIGHT, NETWORK, ONNX_FILE
from tests.tools.places import PICTURES, doit, draw, make_workspace, tool_environment

PERSON = """\
name: person
source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: random}
input: {size: 64}
evaluate: none
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {images: "pictures/*.bmp", count: 4}
targets:
  - grove-vision-ai-v2
  - {target: grove-vision-ai-v2, as: himax, firmware: himax-yolov8-pose}
  - xiao-esp32s3
"""


@pytest.fixture(scope="session")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with one random network for two boards, and two firmwares of one. Read-only."""
    root = make_workspace(tmp_path_factory.mktemp("person") / "place", person=PERSON)
    draw(root / "pictures", 64, PICTURES)
    run = doit(root, "-n", "2")
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def bright_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a network that detects bright spots, as ONNX and TFLite. Copied, never
    changed.
    """
    root = make_workspace(tmp_path_factory.mktemp("bright") / "place", bright=BRIGHT)
    (root / "targets").mkdir()
    (root / "targets" / "onnx-file.yaml").write_text(ONNX_FILE)
    _, python = environments.ensure("onnx2tf", print)
    command = [str(python), "-c", NETWORK, str(root / "bright.onnx")]
    subprocess.run(command, check=True, env=tool_environment(python))
    run = doit(root)
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)
