"""Unusable folders are reported with the variable that sets them and what to do."""

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.locks import locked
from tests.conftest import StandIn, no_environment
from tests.planted_errors import Trial, make_trial

COMMANDS = ("build", "plan", "report", "gc", "sync", "update")


@pytest.fixture
def trial(tmp_path: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A workspace with one build that was not built yet."""
    defaults = (tools, no_environment, None, None)
    monkeypatch.setattr(Session.__init__, "__defaults__", defaults)
    return make_trial(tmp_path, restored=False)


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    """End a run that blocks on a pipe."""

    def end(number: int, frame: object) -> None:
        raise AssertionError("it waits")

    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    for each, handler in kept.items():
        signal.signal(each, handler)


def put(kind: str, place: Path) -> None:
    """Put something other than a directory there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "a file":
        place.touch()
    elif kind == "a named pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(place.parent / "nowhere")


@pytest.mark.parametrize(
    ("variable", "unset", "kind"),
    [
        ("BUILDSYS_STORE", (), "a file"),
        ("BUILDSYS_STORE", (), "a link to"),
        ("XDG_CACHE_HOME", ("BUILDSYS_STORE",), "a named pipe"),
        ("HOME", ("BUILDSYS_STORE", "XDG_CACHE_HOME"), "a file"),
    ],
)
def test_a_variable_that_names_no_directory_is_named(
    trial: Trial,
    variable: str,
    unset: tuple[str, ...],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every command that needs the store names the variable and what to set."""
    place = trial.place.parent / "odd"
    put(kind, place)
    monkeypatch.setenv(variable, str(place))
    for name in unset:
        monkeypatch.delenv(name)
    for command in COMMANDS:
        assert cli.main(["-C", str(trial.place), command]) == 1, command
        words = capsys.readouterr().err
        assert f"the store cannot be used: {place} is {kind}" in words, command
        way = f"HOME is {place}: set XDG_CACHE_HOME" if variable == "HOME" else f"{variable} sets"
        assert way in words, command
    cli.main(["-C", str(trial.place), "doctor"])
    assert f"{place} is {kind}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value"), [("BUILDSYS_STORE", "here"), ("XDG_CACHE_HOME", "here"), ("HOME", "")]
)
def test_a_relative_place_is_refused(
    trial: Trial,
    variable: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A relative path in a variable is rejected."""
    for name in ("BUILDSYS_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv(variable, value)
    for command in COMMANDS:
        assert cli.main(["-C", str(trial.place), command]) == 1, command
        assert f"{variable} is `{value}`, which is not an absolute path" in capsys.readouterr().err


def test_a_home_that_does_not_exist_is_not_made(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing home folder is not created, not even by root."""
    home = trial.place.parent / "nobody"
    for name in ("BUILDSYS_STORE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    for command in ("check", "plan"):
        assert cli.main(["-C", str(trial.place), command]) == 1
        assert f"HOME is {home}, which does not exist" in capsys.readouterr().err
    assert not home.exists()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (".buildsys", "a file"),
        ("build", "a file"),
        ("build/plain", "a named pipe"),
        (".buildsys/scratch", "a named pipe"),
        (".buildsys/logs", "a file"),
    ],
)
def test_what_stands_in_the_place_of_a_folder_is_named(
    trial: Trial, name: str, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Something in the place of a folder is reported once, without blocking or a traceback."""
    if name != ".buildsys":
        Workspace(trial.place).check_own()  # .buildsys is made here
    put(kind, trial.place / name)
    assert cli.main(["-C", str(trial.place), "build"]) == 1
    words = "".join(capfd.readouterr())
    wanted = f"{trial.place / name} is {kind}, not a directory. Move it away, then run again."
    assert words.count(wanted) == 1
    assert "not finished" not in words
    assert "Traceback" not in words


@pytest.mark.parametrize(
    "name",
    ["build/summary.json", "build/report", "build/plain/host", "baselines.json", ".buildsys/lock"],
)
def test_no_pipe_hangs_a_run(trial: Trial, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A named pipe never blocks a run: it is replaced in our own folders, otherwise reported."""
    Workspace(trial.place).check_own()  # .buildsys is made here
    put("a named pipe", trial.place / name)
    code = cli.main(["-C", str(trial.place), "build"])
    words = "".join(capfd.readouterr())
    assert code == 0 or Path(name).name in words
    assert "unexpected error" not in words


class Listening(io.StringIO):
    """A stream that records output and whether a waiting message was printed."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = threading.Event()

    def write(self, text: str) -> int:
        if "waiting for another run in this workspace (process 4711)" in text:
            self.waits.set()
        return super().write(text)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    "words",
    [
        ["report"],
        ["predict", "tags@xiao-esp32s3", "tags/images/val/0.jpg"],
    ],
    ids=lambda words: str(words[0]),
)
def test_whoever_waits_says_for_whom(
    words: list[str], workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that waits for the workspace lock prints at once which process holds it, and not
    among its results.
    """
    defaults = (tools, no_environment, None, None)
    monkeypatch.setattr(Session.__init__, "__defaults__", defaults)
    monkeypatch.chdir(workspace)
    heard, results, holds = Listening(), io.StringIO(), threading.Event()
    monkeypatch.setattr(sys, "stderr", heard)
    monkeypatch.setattr(sys, "stdout", results)

    def hold() -> None:
        with locked(workspace / ".buildsys" / "lock", "4711"):
            holds.set()
            heard.waits.wait(50)

    holder = threading.Thread(target=hold)
    holder.start()
    holds.wait()
    cli.main(words)
    heard.waits.set()
    holder.join()
    assert "waiting for another run in this workspace (process 4711)" in heard.getvalue()
    assert "waiting for" not in results.getvalue()
