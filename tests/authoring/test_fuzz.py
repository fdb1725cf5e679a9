"""Five thousand files that are nearly right, through the real `check`; benchmarks/ runs a million."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_nothing_but_messages_comes_out(tmp_path: Path) -> None:
    """A slip that nobody thought of ends in a traceback, a hang, or a message about no line."""
    script = REPOSITORY / "benchmarks" / "fuzz_recipes.py"
    command = [sys.executable, str(script), "--count", "5000", "--keep", str(tmp_path / "found")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ": 0 wrong" in run.stdout
