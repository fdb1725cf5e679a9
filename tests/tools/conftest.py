"""What several files of these tests build alike, built once a run."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.places import PICTURES, doit, draw, make_workspace

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
    """A workspace with one random network for two boards, and for two firmwares of one. Only read."""
    root = make_workspace(tmp_path_factory.mktemp("person") / "place", person=PERSON)
    draw(root / "pictures", 64, PICTURES)
    run = doit(root, "-n", "2")
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)
