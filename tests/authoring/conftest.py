"""Every test gets a workspace of its own, and leaves the user's cache and store alone."""

from pathlib import Path

import pytest

from tests.authoring.sample_workspace import make_workspace


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Data sets and weights, no recipe yet."""
    return make_workspace(tmp_path / "workspace")
