"""Which working folders of interrupted steps a run removes at its end."""

import os
import shutil
from pathlib import Path

import pytest

from buildsys.execution.session.session import Session
from tests.conftest import StandIn, no_environment


def _run(workspace: Path, tools: StandIn) -> None:
    session = Session(workspace, tools, no_environment)
    session.build([build for build in session.plans if "xiao" in build])
    session.close()


def _training_key(workspace: Path) -> str:
    session = Session(workspace)
    step = next(s for plan in session.plans.values() for s in plan.steps if s.trains)  # type: ignore[union-attr]
    key = session.state.key(step)
    session.close()
    assert key is not None
    return key.key


@pytest.mark.usefixtures("built")
def test_a_training_whose_checkpoint_was_lost_goes_on_where_it_was(
    workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """Its folder stays while its result is recorded and cannot be had, and goes with the result."""
    folder = workspace / ".buildsys" / "scratch" / _training_key(workspace)
    folder.mkdir(parents=True)
    kept = tmp_path / "kept"
    shutil.move(tmp_path / "store" / "blobs", kept)
    _run(workspace, tools)
    assert folder.is_dir()
    shutil.rmtree(tmp_path / "store" / "blobs", ignore_errors=True)
    shutil.move(kept, tmp_path / "store" / "blobs")
    _run(workspace, tools)
    assert not folder.exists()


@pytest.mark.usefixtures("built")
def test_folders_of_other_names_are_left_alone(workspace: Path, tools: StandIn) -> None:
    """Also names that are not UTF-8."""
    folder = os.path.join(os.fsencode(workspace / ".buildsys" / "scratch"), b"\xff\xfe")
    os.makedirs(folder)
    _run(workspace, tools)
    assert os.path.isdir(folder)
