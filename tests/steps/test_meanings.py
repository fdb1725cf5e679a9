"""What a package says of its outputs: nothing that a head has may go without a sentence."""

import pytest

from buildsys.steps.lib.heads import meanings
from buildsys.steps.lib.heads.outputs import HEADS

CASES = [(head, task) for head, tasks in HEADS.items() for task in tasks]


@pytest.mark.parametrize(("head", "task"), CASES)
def test_every_output_has_a_meaning(head: str, task: str) -> None:
    """And every head of boxes the way from a cell to a box."""
    for output in HEADS[head][task]:
        assert meanings.tell_output(head, task, output.name)
    assert bool(meanings.tell_formula(head, task)) == (task != "classify")


def test_what_nobody_said_is_not_made_up() -> None:
    """A file of one's own, whose head is not known."""
    assert meanings.tell_output("none", "detect", "boxes") == ""
    assert meanings.tell_formula("none", "") == ""
