"""Workspaces of authoring's tests: data sets and weights, no recipe yet."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Data sets and weights, no recipe yet."""
    return make_workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def _lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("lent") / "workspace")


@pytest.fixture
def lent_workspace(_lent: Path) -> Iterator[Path]:
    """The same for all tests that add recipes and targets alone; what they added goes after them."""
    before = sorted(os.listdir(_lent))
    yield _lent
    for name in (".buildsys", "targets"):
        shutil.rmtree(_lent / name, ignore_errors=True)
    shutil.rmtree(_lent / "recipes")
    (_lent / "recipes").mkdir()
    assert sorted(os.listdir(_lent)) == before
