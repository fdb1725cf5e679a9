"""Run the command blocks of docs/ that need no tools, each page in its own folder."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from docs import generate
from tests.conftest import REPOSITORY, Sample
from tests.docs_blocks import NFC, NFD, SCENARIOS, Block, blocks

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


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_accents_get_one_form(form: str, tmp_path: Path, sample: Sample) -> None:
    """Files and folders are renamed to the form of the annotations; no file is replaced."""
    place = tmp_path / "place"
    SCENARIOS["accents"](place, sample)
    (block,) = (block for block in _RUN if block.scenario == "accents")
    told = _run(replace(block, code=block.code.replace(" NFC <<", f" {form} <<")), place)
    one, other = (NFC, NFD) if form == "NFC" else (NFD, NFC)
    both = {f"both-{NFC}.jpg", f"both-{NFD}.jpg", "plain.jpg"}
    folders = list((place / "data" / "my").iterdir())
    assert {folder.name for folder in folders} == {f"new-{one}", f"old-{one}"}
    for folder in folders:
        assert {path.name for path in folder.iterdir()} == {f"{one}.jpg", *both}
        assert all((folder / name).read_text() == name for name in both)
    lines = told.splitlines()
    assert len(lines) == len(folders)
    assert all(line.startswith("not renamed, both forms exist: ") for line in lines)
    assert all(line.endswith(f"both-{other}.jpg") for line in lines)


def _run(block: Block, place: Path) -> str:
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
    return done.stdout
