"""Commands in a network namespace without any network, not even the loopback interface."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY


def without_network(
    root: Path, *arguments: str, **extra: str
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m …` without network; skips the test if that is not permitted."""
    return subprocess.run(
        [*_namespace(), sys.executable, "-m", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **extra},
    )


def _namespace() -> list[str]:
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to take the network away")
    for options in (["-rn"], ["-n"]):
        prefix = ["unshare", *options]
        if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
            return prefix
    pytest.skip("this user may not make a network namespace")
