"""Results that several processes compute, in the order of the items."""

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """\
import os, time
from buildsys.steps.lib.runtime.ahead import in_order
from buildsys.steps.lib.runtime.progress import StepError, fail

class Unlike(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} unlike {two}")

def answer(number):
    if number == 7:
        fail("seven is no number")
    if number == 9:
        os.kill(os.getpid(), 9)
    if number == 11:
        raise OSError(28, "No space left on device")
    if number == 13:
        raise Unlike("a", "b")
    time.sleep(0.01 * (number % 3))
    return number, bytes([number]) * 100_000, os.getpid()

for processes in (1, 2, 3, 50):
    found = list(in_order(answer, range(7), processes))
    assert [(number, len(data)) for number, data, _ in found] == [(n, 100_000) for n in range(7)]
    assert len({process for *_, process in found}) == min(processes, 7)
assert list(in_order(answer, [], 2)) == []
for items, message in (((1, 7), "seven"), ((1, 2, 9, 3), "has ended")):
    try:
        print(list(in_order(answer, items, 2)))
    except StepError as error:
        assert message in str(error), error
for number, kind, message in ((11, OSError, "No space left"), (13, RuntimeError, "Unlike: a unlike b")):
    try:
        print(list(in_order(answer, (1, number, 3), 2)))
    except kind as error:
        assert message in str(error), error
"""


@pytest.mark.slow
def test_the_order_is_that_of_the_items_whoever_answers() -> None:
    """Results are in the order of the items; errors and a process's end are reported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    tracebacks = re.findall("^Traceback", done.stderr, re.MULTILINE)
    assert len(tracebacks) == 2  # of the errors that are no message of a step
