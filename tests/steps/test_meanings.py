"""The description of a package's outputs: every output of a head has one."""

import pytest

from buildsys.steps.lib.heads import meanings
from buildsys.steps.lib.heads.outputs import HEADS

CASES = [(head, task) for head, tasks in HEADS.items() for task in tasks]


@pytest.mark.parametrize(("head", "task"), CASES)
def test_every_output_has_a_meaning(head: str, task: str) -> None:
    """Every output has a description, and every head with boxes describes the decoding."""
    for output in HEADS[head][task]:
        assert meanings.tell_output(head, task, output.name)
    assert bool(meanings.tell_formula(head, task)) == (task != "classify")


def test_an_unknown_head_gets_no_description() -> None:
    """A source file with an unknown head gets no invented description."""
    assert meanings.tell_output("none", "detect", "boxes") == ""
    assert meanings.tell_formula("none", "") == ""
