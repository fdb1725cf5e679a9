"""Run the command blocks of docs/ that need no tools, each page in its own folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from docs import generate
from tests.conftest import REPOSITORY, Sample
from tests.docs_blocks import SCENARIOS, Block, blocks

pytestmark = pytest.mark.slow

_RUN = [block for block in blocks(generate.pages()) if block.scenario]
_PLACES = sorted({(block.place.split(":")[0], block.scenario) for block in _RUN})


@pytest.mark.parametrize(("page", "scenario"), _PLACES)
def test_a_page_s_commands_run(
    page: str, scenario: str, tmp_path: Path, workspace: Path, sample: Sample
) -> None:
    """A page's commands run in order."""
    place = workspace if scenario == "built" else tmp_path / "place"
    SCENARIOS[scenario](place, sample)
    for block in _RUN:
        if (block.place.split(":")[0], block.scenario) == (page, scenario):
            _run(block, place)


def _run(block: Block, place: Path) -> None:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    done = subprocess.run(
        ["bash", "-e", "-c", block.code],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}\n{done.stdout}{done.stderr}"
