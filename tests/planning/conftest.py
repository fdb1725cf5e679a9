"""Workspaces of planning's tests: datasets and weights, no recipe yet."""

from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Datasets and weights, no recipe yet."""
    return make_workspace(tmp_path / "workspace")
