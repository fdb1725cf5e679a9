"""`buildsys doctor`: sentences on this machine that need no tool."""

from pathlib import Path

import pytest

from buildsys.operations.doctor import Finding, examine
from buildsys.steps.lib.tensorrt.host_library import VARIABLE


def _told(workspace: Path) -> list[Finding]:
    return [finding for finding in examine(workspace) if VARIABLE in finding.text]


def test_a_variable_that_names_no_python(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine waits for a TensorRT that is there, and nobody sees the typo."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert _told(workspace) == []
    monkeypatch.setenv(VARIABLE, str(tmp_path / "pyhton"))
    (finding,) = _told(workspace)
    assert not finding.good
    assert finding.optional
    assert f"points to {tmp_path / 'pyhton'}, which is no file" in finding.text
