"""The processes of one step are ended, and those of others continue."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from buildsys.execution.children import Cancellation
from buildsys.execution.running.process import Command, run_command
from tests.processes import wait_until

pytestmark = pytest.mark.slow
_STEP = 'sleep 60 & echo $! > "$0.new" && mv "$0.new" "$0"; wait; exit 1'
"""Starts a child process, writes its id, and waits for it."""


class Running:
    """A step running in a thread, which can be cancelled."""

    def __init__(self, folder: Path) -> None:
        self.cancellation, self.codes = Cancellation(), list[int]()
        self._mark = folder / "child"
        folder.mkdir()
        command = Command(
            arguments=("/bin/sh", "-c", _STEP, str(self._mark)),
            folder=folder,
            environment={"PATH": os.environ["PATH"]},
            log=folder / "log",
        )
        run = partial(run_command, cancellation=self.cancellation)
        self.thread = threading.Thread(
            target=lambda: self.codes.append(run(command, lambda *report: None))
        )
        self.thread.start()

    @property
    def child(self) -> int:
        """Id of the process that the step has started."""
        while not self._mark.exists():
            time.sleep(0.01)
        return int(self._mark.read_text())


@contextlib.contextmanager
def running(*folders: Path) -> Iterator[list[Running]]:
    """Running steps, which are ended after the block."""
    steps = [Running(folder) for folder in folders]
    try:
        yield steps
    finally:
        for step in steps:
            step.cancellation.request()
            step.thread.join()


def is_alive(process: int) -> bool:
    """Whether a process runs; a zombie counts as ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def test_a_cancelled_step_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """A cancelled step ends with all its processes; the other step continues."""
    with running(tmp_path / "one", tmp_path / "two") as (one, two):
        assert is_alive(one.child)
        assert is_alive(two.child)
        one.cancellation.request()
        one.thread.join()
        assert one.codes == [-9]
        wait_until(lambda: not is_alive(one.child), "the end of a process that was killed")
        assert is_alive(two.child)
        assert two.thread.is_alive()
    assert two.codes == [-9]
    wait_until(lambda: not is_alive(two.child), "the end of a process that was killed")


def test_a_step_that_is_cancelled_before_it_begins_does_not_begin(tmp_path: Path) -> None:
    """A step that is cancelled before it starts does not start."""
    cancellation, mark = Cancellation(), tmp_path / "began"
    cancellation.request()
    command = Command(
        arguments=("/usr/bin/touch", str(mark)), folder=tmp_path, environment={}, log=tmp_path / "l"
    )
    assert run_command(command, lambda *report: None, cancellation) == -9
    assert cancellation.requested
    assert not mark.exists()


def test_a_signal_removes_the_private_key_of_a_run(tmp_path: Path) -> None:
    """What must not outlive a process is removed by its signal handler."""
    key = tmp_path / "key.pem"
    program = (
        "import os, signal, sys, pathlib\n"
        "from buildsys.execution import signals\n"
        "key = pathlib.Path(sys.argv[1])\n"
        "key.write_text('secret')\n"
        "signals.remove_on_signals(key)\n"
        "signals.end_on_signals(lambda: None)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    words = (sys.executable, "-c", program, str(key))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, key.exists()) == (143, False), done.stderr
