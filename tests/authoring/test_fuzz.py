"""Fuzzing `check` with nearly correct files; benchmarks/ runs a million."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.repetitions import repetitions

pytestmark = pytest.mark.slow


def test_only_messages_come_out_of_files_that_are_nearly_right(tmp_path: Path) -> None:
    """`check` only gives messages with existing lines: no traceback and no hang."""
    script = REPOSITORY / "benchmarks" / "fuzz_recipes.py"
    count = str(repetitions(500))
    command = [sys.executable, str(script), "--count", count, "--keep", str(tmp_path / "found")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ": 0 wrong" in run.stdout
