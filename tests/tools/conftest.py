"""What several files of these tests build alike: made once a run, in the shared store."""

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
    """A workspace with one random network for two boards, and for two firmwares of one. Only read."""
    root = make_workspace(tmp_path_factory.mktemp("person") / "place", person=PERSON)
    draw(root / "pictures", 64, PICTURES)
    run = doit(root, "-n", "2")
    assert run.returncode == 0, run.stderr
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def bright_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a network that finds bright spots, as ONNX and as TFLite. Only copied."""
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


LONGEST_FIRST = (
    "test_tasks",
    "test_pipeline",
    "test_contracts",
    "test_yolox_pipeline",
    "test_outside",
    "test_parity",
)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shared out over processes (pytest-xdist), the tests of a file of tools stay in one of them,
    which builds what they have in common. They begin before all others, the longest first: so that
    short tests fill the end.
    """
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        if item.get_closest_marker("tools") is not None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("tools") is None:
        return len(LONGEST_FIRST) + 1
    file = item.path.stem
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
