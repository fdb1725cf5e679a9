"""Results that several processes compute, in the order of the items."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

PROGRAM = """\
import os, time
from buildsys.steps.lib.runtime.ahead import in_order
from buildsys.steps.lib.runtime.progress import StepError, fail

def answer(number):
    if number == 7:
        fail("seven is no number")
    if number == 9:
        os.kill(os.getpid(), 9)
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
"""


@pytest.mark.slow
def test_the_order_is_that_of_the_items_whoever_answers() -> None:
    """Results are in the order of the items; messages and a process's end are reported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
