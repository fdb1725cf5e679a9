"""Outputs of Ultralytics' TFLite files, decoded by the build and by the programs of a package."""

import json
import subprocess
from pathlib import Path

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools


def test_shares_of_the_image_are_decoded_to_the_networks_pixels(tmp_path: Path) -> None:
    """Boxes, keypoints and oriented boxes from shares equal those that the network gives in
    pixels.
    """
    _, python = environments.ensure("ultralytics", print)
    run = subprocess.run(
        [str(python), "-m", "tests.tools.normalized_cases"],
        cwd=tmp_path,
        env=tool_environment(python, tmp_path) | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert len(found) == 7
    assert {name: far for name, far in found.items() if far > 1e-3} == {}
