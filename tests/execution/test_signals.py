"""What is printed when a signal ends a run, in a real process."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow(disk=False)

TALKATIVE = """\
import os, signal, sys, threading, time

sys.path.insert(0, sys.argv[1])
from buildsys.execution import signals

leave = os._exit


def leave_late(code):
    time.sleep(0.2)
    leave(code)


def talk():
    while True:
        os.write(2, b"another step begins\\n")
        time.sleep(0.001)


os._exit = leave_late
signals.end_on_signals(lambda: None, details=lambda: "a detail")
threading.Thread(target=talk, daemon=True).start()
time.sleep(0.05)
os.kill(os.getpid(), signal.SIGTERM)
"""
"""A program whose other thread prints until the process is gone."""


def test_nothing_is_printed_after_the_message_of_an_interruption() -> None:
    """Steps of other threads may begin until the process is gone: their lines are not shown."""
    command = [sys.executable, "-c", TALKATIVE, str(REPOSITORY)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 128 + 15
    assert "another step begins\n" in done.stderr
    kept = "finished steps are kept; the next run makes the others"
    assert done.stderr.endswith(f"\ninterrupted: {kept}\na detail\n")
