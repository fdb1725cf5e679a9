"""`buildsys fit` with the real compiler, on a network that compiles in seconds."""

import json
import re
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.registry import shipped_targets

pytestmark = pytest.mark.tools

RECIPE = """\
name: small
source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: random}
dataset: {generator: fiducials, train: 4, val: 2, seed: 0, size: 128}
input: {size: 96}
train: {epochs: 1}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {split: train, count: 2}
targets: [{target: grove-vision-ai-v2, firmware: small-arena}]
"""
ARENA_KIB = 88


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A recipe for a firmware whose arena holds 64 px and not 96."""
    root = tmp_path / "small"
    (root / "recipes").mkdir(parents=True)
    (root / "targets" / "firmware").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    (root / "recipes" / "small.yaml").write_text(RECIPE)
    contract = (shipped_targets() / "firmware" / "sscma-1.0-pose.yaml").read_text()
    contract = contract.replace("name: sscma-1.0-pose", "name: small-arena")
    contract = re.sub(r"(?m)^arena_kib: \d+", f"arena_kib: {ARENA_KIB}", contract)
    (root / "targets" / "firmware" / "small-arena.yaml").write_text(contract)
    return root


def test_the_largest_size_is_found_by_compiling(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fit` makes no data and trains nothing; failing builds show its result."""
    assert cli.main(["-C", str(small), "fit", "small@grove-vision-ai-v2"]) == 0
    shown = capsys.readouterr()
    *_, answer = shown.out.splitlines()
    assert answer == (
        "small@grove-vision-ai-v2: 64 px fits, and 96 px does not: it is the largest."
        " Write `input: {size: 64}`"
    )
    assert re.search(r"(?m)^ +64 +\d+ +\d+ +yes +\d+$", shown.out)
    assert re.search(r"(?m)^ +96 +\d+ +\d+ +no +\d+$", shown.out)
    assert "train (" not in shown.err
    assert "dataset (" not in shown.err
    record = (small / ".buildsys" / "fit.json").read_text().splitlines()[1]
    (kept,) = json.loads(record)["fits"].values()
    assert (kept["side"], kept["proven"]) == (64, True)
    needs = [trial["need"]["arena_bytes"] for trial in kept["tried"]]
    assert needs[0] < ARENA_KIB * 1024 < needs[1]
    assert cli.main(["-C", str(small), "fit", "small@grove-vision-ai-v2"]) == 0
    assert "done in" not in capsys.readouterr().err
