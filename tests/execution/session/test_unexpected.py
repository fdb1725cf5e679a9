"""An unexpected error anywhere in a run gives a sentence, a log, exit code 1 and a row."""

import errno
import io
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from doit.cmd_run import opt_outfile

from buildsys import cli
from buildsys.execution.session.session import Session
from tests import planted_errors
from tests.conftest import StandIn, no_environment


@pytest.fixture(autouse=True)
def _stand_in(tools: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run steps as doit does, without processes."""
    defaults = (tools, no_environment, None, None)
    monkeypatch.setattr(Session.__init__, "__defaults__", defaults)


@pytest.mark.parametrize("always", [False, True])
def test_an_error_anywhere_is_reported(tmp_path: Path, always: bool) -> None:
    """A sample of functions raises unexpectedly; benchmarks/ tests all of them."""
    trial = planted_errors.make_trial(tmp_path, restored=True)
    found = planted_errors.functions(trial.place)
    tried = [(i, code) for i, code in enumerate(found) if planted_errors.is_tried(code, always)]
    chosen = tried[(25 if always else 7) :: 90]
    assert len(chosen) > 2
    assert [p for i, code in chosen for p in trial.problems(code, i, always)] == []


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [0, 2])
def test_an_error_in_a_step_s_work_is_reported(tmp_path: Path, parallel: int) -> None:
    """An unexpected error in a step's work is reported, serially and in threads."""
    trial = planted_errors.make_trial(tmp_path, restored=False)
    found = planted_errors.functions(trial.place, parallel)
    chosen = list(enumerate(found))[parallel::24]
    assert [p for i, code in chosen for p in trial.problems(code, i, False, parallel)] == []


@pytest.mark.parametrize(
    "command", ["plan", "check", "report", "gc", "doctor", "targets", "schema"]
)
def test_an_error_in_a_command_is_reported(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The traceback is in a log of the workspace, or of the user's cache outside a workspace."""
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


def test_a_log_that_cannot_be_written_is_reported_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If no log can be written, the message contains the end of the traceback."""
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
    assert "this is a bug in buildsys" in words


class Refusing(io.StringIO):
    """A stream whose reader has ended."""

    def __init__(self, error: type[OSError], number: int) -> None:
        super().__init__()
        self.error = error(number, os.strerror(number))

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "number", "said"),
    [
        (BrokenPipeError, errno.EPIPE, ""),
        (OSError, errno.ENOSPC, "the output could not be written: No space left on device\n"),
    ],
)
def test_output_that_is_lost_ends_no_work(
    error: type[OSError],
    number: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With lost output (`doit | head`, `doit > /dev/full`) everything is built, and the exit code
    shows the loss.
    """
    trial = planted_errors.make_trial(tmp_path, restored=False)
    monkeypatch.setitem(opt_outfile, "default", Refusing(error, number))
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    assert cli.main(["-C", str(trial.place), "build"]) == 1
    for each, handler in kept.items():
        signal.signal(each, handler)
    assert re.search(rf"done in \d+\.\d s\n{re.escape(said)}\Z", capsys.readouterr().err)
    assert (trial.place / "build" / "plain" / "host" / "manifest.json").is_file()
    monkeypatch.setattr(sys, "stdout", Refusing(error, number))
    assert cli.main(["-C", str(trial.place), "plan"]) == 1
    assert capsys.readouterr().err == said


def test_output_needs_no_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run works with closed output streams."""
    trial = planted_errors.make_trial(tmp_path, restored=False)
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    assert cli.main(["-C", str(trial.place), "plan"]) == 0


def test_a_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A removed current folder gives one message."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert cli.main(["plan"]) == 1
    assert capsys.readouterr().err.startswith("the current folder was removed: change to")
