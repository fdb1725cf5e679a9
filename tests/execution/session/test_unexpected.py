"""An error that nobody expected, anywhere in a run: a sentence, a log, exit code 1, a row."""

import sys
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.execution.session.session import Session
from tests import planted_errors
from tests.conftest import StandIn, no_environment


@pytest.fixture(autouse=True)
def _stand_in(tools: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """What doit's run does with steps, without processes."""
    defaults = (tools, no_environment, None, None)
    monkeypatch.setattr(Session.__init__, "__defaults__", defaults)


@pytest.mark.parametrize("always", [False, True])
def test_an_error_anywhere_is_said(tmp_path: Path, always: bool) -> None:
    """One function of ninety, from reading recipes to the table at the end; see benchmarks/ for all."""
    trial = planted_errors.make_trial(tmp_path, restored=True)
    found = planted_errors.functions(trial.place)
    tried = [(i, code) for i, code in enumerate(found) if planted_errors.is_tried(code, always)]
    chosen = tried[(25 if always else 7) :: 90]
    assert len(chosen) > 2
    assert [p for i, code in chosen for p in trial.problems(code, i, always)] == []


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [0, 2])
def test_an_error_in_a_step_s_work_is_said(tmp_path: Path, parallel: int) -> None:
    """With the steps, one after the other and in threads."""
    trial = planted_errors.make_trial(tmp_path, restored=False)
    found = planted_errors.functions(trial.place, parallel)
    chosen = list(enumerate(found))[::12]
    assert [p for i, code in chosen for p in trial.problems(code, i, False, parallel)] == []


@pytest.mark.parametrize(
    "command", ["plan", "check", "report", "gc", "doctor", "targets", "schema"]
)
def test_an_error_in_a_command_is_said(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The traceback is in a log of the workspace, or of the user's cache where there is none."""
    (tmp_path / "recipes").mkdir()
    module = __import__(f"buildsys.commands.{command}", fromlist=["run"])

    def run(options: object) -> int:
        raise planted_errors.Planted("planted here")

    monkeypatch.setattr(module, "run", run)
    assert cli.main(["-C", str(tmp_path), command]) == 1
    words = capsys.readouterr().err
    assert words.startswith(
        f"unexpected error while `buildsys {command}` ran: Planted: planted here\n"
        "    traceback: .buildsys/logs/error-"
    )
    assert "Traceback" not in words
    (log,) = (tmp_path / ".buildsys" / "logs").iterdir()
    assert "Planted: planted here" in log.read_text()


def test_a_log_that_cannot_be_written_is_said_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither in the workspace nor in the cache: the end of the traceback is in the message."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / ".buildsys").symlink_to(tmp_path)
    module = sys.modules.setdefault(
        "buildsys.commands.targets", __import__("buildsys.commands.targets", fromlist=["run"])
    )

    def run(options: object) -> int:
        raise planted_errors.Planted("planted here")

    monkeypatch.setattr(module, "run", run)
    assert cli.main(["-C", str(tmp_path), "targets"]) == 1
    words = capsys.readouterr().err
    assert "in run\n" in words
    assert "this is a mistake in buildsys" in words
