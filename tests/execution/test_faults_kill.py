"""Runs that are ended from outside, with real doit, real step processes and real signals."""

import contextlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.checkpoints import archive_of, checkpoint_of
from tests.conftest import REPOSITORY
from tests.given_models import OTHER
from tests.processes import (
    make_built_place,
    make_place,
    processes_in,
    run_doit,
    set_tool,
    start_doit,
    tools_in,
)
from tests.repetitions import repetitions

pytestmark = pytest.mark.slow


def finished(store: Path) -> set[str]:
    """Action keys of finished steps."""
    return {path.stem for path in store.glob("actions/*/*.json")}


def begun(place: Path) -> dict[str, int]:
    """Action key -> when its step last started."""
    return {p.stem: p.stat().st_ctime_ns for p in (place / ".buildsys/logs").glob("*.log")}


@pytest.mark.parametrize("victims", ["doit", "tool", "both"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whoever_is_ended_however(tmp_path: Path, victims: str, number: signal.Signals) -> None:
    """No descendant survives, no partial result is kept, and the next run continues from there.

    The stand-in for the tool does not watch its parent and has a child of its own.
    """
    place, store = make_place(tmp_path, seconds=0.01), tmp_path / "store"
    run_doit(place, "build:plain@host")
    set_tool(tmp_path, seconds=30)
    process = start_doit(place, "build:tags@xiao-esp32s3")
    tool = processes.tool_at_work(place)
    before, kept = begun(place), finished(store)
    set_tool(tmp_path, seconds=0.01)
    for target in {"doit": [process.pid], "tool": [tool], "both": [process.pid, tool]}[victims]:
        with contextlib.suppress(ProcessLookupError):  # doit may have ended its tool already
            os.kill(target, number)
    output, _ = process.communicate(timeout=180)
    processes.wait_until(lambda: not processes_in(place), "the end of every process")
    assert processes.damage(place, store) == []
    if victims == "tool":
        assert process.returncode in (1, 2)
        assert f"failed: ended by {number.name}" in output
    else:
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
        assert not re.search("^Traceback", output, re.MULTILINE)
    assert run_doit(place).returncode == 0
    assert {key: begun(place)[key] for key in kept} == {key: before[key] for key in kept}
    assert processes.damage(place, store) == []


@pytest.mark.parametrize(
    ("number", "epochs", "then"),
    [
        (signal.SIGTERM, 0, "begins again, because no epoch was finished"),
        (signal.SIGINT, 1, "continues at epoch 2 of 2"),
        (signal.SIGHUP, 2, "only ends the training: all 2 epochs are done"),
    ],
)
def test_an_interrupted_run_writes_its_summary(
    tmp_path: Path, number: signal.Signals, epochs: int, then: str
) -> None:
    """The summary says where the run was; steps that had not started are not reported as failed.

    The message says at which epoch the training continues.
    """
    place = make_place(tmp_path, seconds=0.01, boards=2)
    run_doit(place, "build:plain@host")
    set_tool(tmp_path, seconds=0.01, hold="train_ultralytics")
    process = start_doit(place, "-n", "2")
    processes.wait_until(lambda: tools_in(place, "train_ultralytics"), "the training")
    for work in (place / ".buildsys" / "scratch").glob("*/work"):
        (work / "state.pt").write_bytes(archive_of(pickle.dumps({"epochs": epochs}, protocol=2)))
    process.send_signal(number)
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 128 + number
    assert "interrupted: finished steps are kept; the next run makes the others\n" in output
    assert output.endswith(f"\ntrain (tags): the next run {then}\n")
    assert "failed" not in output
    statuses = processes.statuses(place)
    assert statuses["tags@xiao-esp32s3"] == "interrupted at train"
    assert statuses["plain@host"] in ("up-to-date", "interrupted")
    rows = json.loads((place / "build" / "summary.json").read_text())["builds"]
    spent = {row["id"]: row["seconds"] for row in rows}
    assert 0 < spent["tags@xiao-esp32s3"] < 180, "what was spent until the signal counts"


def test_an_interrupted_terminal_is_left_in_order(tmp_path: Path) -> None:
    """The live display hides the cursor; it is shown again."""
    place = make_place(tmp_path, seconds=30)
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "doit", "build:tags@xiao-esp32s3"],
        cwd=place,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**processes.environment(tmp_path), "TERM": "xterm"},
    )
    os.close(terminal)
    output = b""
    while b"\x1b[?25l" not in output:
        output += os.read(main, 1000)
    processes.wait_until(lambda: tools_in(place), "a tool")
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):  # the end of a terminal is an error
        while chunk := os.read(main, 1000):
            output += chunk
    os.close(main)
    assert process.wait(180) == 130
    assert output.rindex(b"\x1b[?25h") > output.rindex(b"\x1b[?25l")


def test_a_run_that_only_waits_leaves_the_summary_alone(tmp_path: Path) -> None:
    """Ctrl-C while another run holds the workspace does not change the summary."""
    place = make_built_place(tmp_path)
    summary = (place / "build/summary.json").read_bytes()
    (place / "start.bin").write_bytes(checkpoint_of("weights"))
    (place / "model.tflite").write_bytes(OTHER)
    recipe = place / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    set_tool(tmp_path, seconds=30)
    first = start_doit(place)
    processes.wait_until(lambda: tools_in(place), "a tool")
    second = start_doit(place)
    assert second.stdout is not None
    assert f"(process {first.pid})" in second.stdout.readline()
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=180)
    assert second.returncode == 130
    assert (place / "build/summary.json").read_bytes() == summary
    assert tools_in(place), "the first goes on"
    set_tool(tmp_path, seconds=0.01)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=180)


def test_a_closed_terminal_ends_the_run_and_nohup_does_not(tmp_path: Path) -> None:
    """SIGHUP ends the run unless it was ignored at the start, as with nohup."""
    place = make_place(tmp_path, seconds=0.1)
    command = f"trap '' HUP; exec {sys.executable} -m doit build:plain@host"
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=place,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=processes.environment(tmp_path),
    )
    processes.wait_until(lambda: tools_in(place), "a tool")
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0


def test_leftovers_of_killed_publishing_are_removed(tmp_path: Path) -> None:
    """Folders of an interrupted publication or removal are deleted by the next run."""
    place = make_place(tmp_path)
    for name in (".host.4711", ".host.old.4711"):
        (place / "build/plain" / name).mkdir(parents=True)
        (place / "build/plain" / name / "plain.tflite").write_bytes(b"half")
    assert run_doit(place, "build:plain@host").returncode == 0
    assert [p.name for p in (place / "build/plain").iterdir()] == ["host"]


def test_processes_are_never_a_pool(tmp_path: Path) -> None:
    """`-P process` is refused: doit's process pool hangs if a worker dies."""
    place = make_place(tmp_path)
    for words in (("-P", "process"), ("--parallel-type=process",)):
        done = run_doit(place, "-n", "2", *words)
        assert done.returncode == 3
        assert "remove `-P process`" in done.stdout


ENDLESS = """\
#!/bin/sh
sleep 60 & sleep 60
"""
"""A stand-in for uv that downloads for long."""
SYNC_FOR_A_STEP = """\
from buildsys.execution.tools import environments
environments.ensure("vela-5.2", print)
"""
SYNC_AHEAD = """\
from buildsys.cli import main
main(["sync", "--all"])
"""


@pytest.mark.parametrize("syncing", [SYNC_FOR_A_STEP, SYNC_AHEAD], ids=["step", "ahead"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_syncing_an_environment_ends_with_us(
    tmp_path: Path, number: signal.Signals, syncing: str
) -> None:
    """The sync of an environment ends with the run, so that a second one can start."""
    programs, place = tmp_path / "bin", tmp_path / "place"
    programs.mkdir()
    place.mkdir()
    (programs / "uv").write_text(ENDLESS)
    (programs / "uv").chmod(0o755)
    (programs / "python").symlink_to(sys.executable)  # uv is looked for beside it first
    process = subprocess.Popen(
        [str(programs / "python"), "-c", syncing],
        cwd=place,
        env={
            **processes.environment(tmp_path),
            "PYTHONPATH": os.pathsep.join((str(REPOSITORY), *sys.path)),
        },
        stdout=subprocess.DEVNULL,
    )
    processes.wait_until(lambda: len(processes_in(place)) >= 3, "its children")
    process.send_signal(number)
    process.wait(180)
    processes.wait_until(lambda: not processes_in(place), "their end", 10)


def test_what_a_tool_leaves_running_is_ended(tmp_path: Path) -> None:
    """A step ends with its first process; a process that keeps its pipe open is ended."""
    place = make_place(tmp_path, seconds=0.01, leave="train_ultralytics")
    assert run_doit(place, "build:tags@xiao-esp32s3").returncode == 0
    processes.wait_until(lambda: not processes_in(place), "the end of what it left")


def test_random_kills() -> None:
    """A few random kills; `python benchmarks/random_kills.py` does a thousand."""
    kills = str(repetitions(5))
    script = REPOSITORY / "benchmarks" / "random_kills.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", kills, "--seed", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        env={k: v for k, v in os.environ.items() if k not in ("BUILDSYS_STORE", "XDG_CACHE_HOME")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout
    assert "0 problems" in done.stdout


def test_deleting_the_state_in_mid_run(tmp_path: Path) -> None:
    """If `.buildsys` is deleted during a run, that run may fail; the next one must not."""
    place = make_place(tmp_path, seconds=0.1)
    process = start_doit(place)
    processes.wait_until(lambda: tools_in(place), "a tool")
    shutil.rmtree(place / ".buildsys", ignore_errors=True)
    output, _ = process.communicate(timeout=180)
    assert not re.search("^Traceback", output, re.MULTILINE), output
    set_tool(tmp_path, seconds=0.01)
    assert run_doit(place).returncode == 0
    assert processes.damage(place, tmp_path / "store") == []
