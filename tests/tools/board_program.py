"""Compares the output of a package's `detect.py` with that of `buildsys predict`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import WARNINGS_ARE_ERRORS, read, store_of, tool_environment

Rows = dict[str, list[dict[str, Any]]]
"""Objects by image name."""


def report_both(root: Path, build: str, images: list[Path], scratch: Path) -> tuple[Rows, Rows]:
    """The objects of `buildsys predict` and of the package's `detect.py`, copied to an empty
    folder.
    """
    recipe, target = build.split("@")
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(store_of(root)),
    }
    words = [sys.executable, "-m", "buildsys", "predict", build, *map(str, images)]
    _run([*words, "--out", str(scratch / "predicted")], root, environment)
    board = scratch / "board"
    shutil.copytree(root / "build" / recipe / target, board)
    _, python = environments.ensure("evaluate", print)
    words = [str(python), *WARNINGS_ARE_ERRORS, "detect.py", "--json", *map(str, images)]
    done = _run(words, board, tool_environment(python))
    return _rows(read(scratch / "predicted" / "predictions.json")), _rows(json.loads(done))


def check_alike(predicted: Rows, reported: Rows, least: int) -> None:
    """Check for the same objects, at least `least`: boxes and keypoints to .02 pixels, scores to
    .0002, the precision of the JSON.
    """
    import pytest

    assert predicted.keys() == reported.keys()
    assert sum(map(len, predicted.values())) >= least
    for name, rows in predicted.items():
        assert [row["class"] for row in rows] == [row["class"] for row in reported[name]], name
        for one, other in zip(rows, reported[name], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=2e-4), name
            assert one.get("box") == pytest.approx(other.get("box"), abs=0.02), name
            for place, twin in zip(
                one.get("keypoints", ()), other.get("keypoints", ()), strict=True
            ):
                assert place[:2] == pytest.approx(twin[:2], abs=0.02), name


def _rows(found: dict[str, Any]) -> Rows:
    return {Path(row["picture"]).name: row["objects"] for row in found["pictures"]}


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
