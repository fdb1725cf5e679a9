"""The first recipe of `init`, unchanged, with the real tools. About a minute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys import cli
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.tools


def test_the_first_recipe_builds_as_it_stands(tmp_path: Path) -> None:
    """The first `doit` after `init` succeeds with useful accuracy."""
    root = tmp_path / "workspace"
    assert cli.main(["-C", str(tmp_path), "init", "workspace"]) == 0
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(
        [sys.executable, "-m", "doit", "-n", "2"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    folder = root / "build" / "tag-finder" / "grove-vision-ai-v2"
    assert (folder / "tag-finder_vela.tflite").stat().st_size > 100_000
    assert (folder / "labels.txt").read_text().split() == ["qr", "aruco"]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["tflite"]["metrics"]["box.mAP50"] > 0.8, "the toy finds its tags"
