"""`buildsys doctor`: the checks that need no tool."""

import shutil
from pathlib import Path

import pytest

from buildsys.execution.tools import definitions
from buildsys.operations.doctor import Check, examine
from buildsys.steps.lib.tensorrt.host_library import VARIABLE


def _told(workspace: Path) -> list[Check]:
    return [finding for finding in examine(workspace) if VARIABLE in finding.text]


def test_a_variable_that_names_no_python(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names no Python is reported."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert _told(workspace) == []
    monkeypatch.setenv(VARIABLE, str(tmp_path / "pyhton"))
    (finding,) = _told(workspace)
    assert not finding.good
    assert finding.optional
    assert f"names {tmp_path / 'pyhton'}, which is not a file" in finding.text


@pytest.mark.slow
def test_a_python_of_the_tools_that_is_missing_is_named(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing Python version is reported, with whether uv may fetch it."""
    envs = Path(shutil.copytree(definitions.ENVS, tmp_path / "envs"))
    text = (envs / "evaluate" / "env.toml").read_text()
    (envs / "evaluate" / "env.toml").write_text(text.replace('"3.11"', '"3.99"'))
    monkeypatch.setattr(definitions, "ENVS", envs)
    definitions.tool_env.cache_clear()
    try:
        monkeypatch.delenv("UV_PYTHON_DOWNLOADS", raising=False)
        (finding,) = [finding for finding in examine(workspace) if "3.99" in finding.text]
        assert finding.optional
        assert "uv fetches it with the first tool environment" in finding.text
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
        (finding,) = [finding for finding in examine(workspace) if "3.99" in finding.text]
        assert not finding.optional
        assert "UV_PYTHON_DOWNLOADS=never prevents uv from fetching it" in finding.text
    finally:
        definitions.tool_env.cache_clear()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".buildsys", ".buildsys is a file, not a directory. Move it away, then run again."),
        ("buildsys.lock", "buildsys.lock:1:"),
    ],
)
def test_what_keeps_every_run_from_beginning_is_named(
    workspace: Path, name: str, text: str
) -> None:
    """What prevents every run is reported with the run's own message; the workspace is not changed."""

    def about_the_place() -> list[Check]:
        return [each for each in examine(workspace) if not each.good and str(text) in each.text]

    assert about_the_place() == []
    (workspace / name).write_text("{")
    before = sorted(workspace.iterdir())
    (finding,) = about_the_place()
    assert not finding.optional
    assert sorted(workspace.iterdir()) == before
