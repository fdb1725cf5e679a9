"""Workspaces for the tests of authoring: datasets and weights, without recipes."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with datasets and weights, without recipes."""
    return make_workspace(tmp_path / "workspace")


@pytest.fixture(scope="session")
def _lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("lent") / "workspace")


@pytest.fixture
def lent_workspace(_lent: Path) -> Iterator[Path]:
    """A shared workspace for tests that only add recipes and targets, which are removed after each
    test.
    """
    before = sorted(os.listdir(_lent))
    yield _lent
    for name in (".buildsys", "targets"):
        shutil.rmtree(_lent / name, ignore_errors=True)
    shutil.rmtree(_lent / "recipes")
    (_lent / "recipes").mkdir()
    assert sorted(os.listdir(_lent)) == before
