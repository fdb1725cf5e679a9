"""Files that are nearly right, through the real `check`; benchmarks/ runs a million."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.repetitions import repetitions

pytestmark = pytest.mark.slow


def test_only_messages_come_out_of_files_that_are_nearly_right(tmp_path: Path) -> None:
    """No traceback, no hang, no message about a line that is not there."""
    script = REPOSITORY / "benchmarks" / "fuzz_recipes.py"
    count = str(repetitions(500))
    command = [sys.executable, str(script), "--count", count, "--keep", str(tmp_path / "found")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ": 0 wrong" in run.stdout
