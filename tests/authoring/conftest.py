"""Workspaces of authoring's tests: data sets and weights, no recipe yet."""

from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Data sets and weights, no recipe yet."""
    return make_workspace(tmp_path / "workspace")
