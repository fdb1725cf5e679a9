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


def test_keypoints_of_a_normalized_head_are_shares() -> None:
    """A head whose boxes are shares of the input also has its keypoints as shares."""
    told = meanings.tell_output("normalized", "pose", "detections")
    assert "of each keypoint x, y as shares of the input's width and height" in told
    assert "x * width of the input" in meanings.tell_formula("normalized", "pose")
    assert "of each keypoint x, y in pixels" in meanings.tell_output(
        "decoded", "pose", "detections"
    )
