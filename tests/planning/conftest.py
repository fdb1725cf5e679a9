"""Workspaces for tests of planning, without recipes."""

from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with datasets and weights, without recipes."""
    return make_workspace(tmp_path / "workspace")
