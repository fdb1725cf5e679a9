"""Outputs of a given file that is opened by the steps alone."""

import pytest

from buildsys.steps.lib.heads.classifier_values import explain_logits
from buildsys.steps.lib.heads.given_outputs import (
    expect,
    explain_others,
    find_contradiction,
    find_order,
    find_problem,
)
from buildsys.steps.lib.heads.output_names import Shape

PLAN = ("box_s8", "cls_s8", "keypoints")
WANTED = {"box_s8": (1, 64, 64), "cls_s8": (1, 64, 3), "keypoints": (1, 84, 12)}
OWN = [(name, WANTED[name]) for name in PLAN]
FOREIGN = [(f"out:{place}", WANTED[name]) for place, name in enumerate(PLAN)]
File = list[tuple[str, Shape]]


@pytest.mark.parametrize(
    ("found", "converted", "other"),
    [
        (OWN, (), ()),
        (OWN[::-1], PLAN[::-1], ()),
        (FOREIGN, (), ()),
        (FOREIGN[::-1], PLAN[::-1], PLAN[::-1]),
    ],
    ids=("own names", "own names, reversed", "other names", "other names, reversed"),
)
def test_another_order_is_a_problem_where_no_name_says_it(
    found: File, converted: tuple[str, ...], other: tuple[str, ...]
) -> None:
    """Converters find outputs by position; other steps do so if the names are not the head's."""
    assert find_problem(WANTED, found, by_order=True) == ""
    assert find_order(WANTED, found, PLAN, by_order=True) == converted
    assert find_order(WANTED, found, PLAN, by_order=False) == other


def test_a_stock_file_is_right() -> None:
    """Ultralytics' own output has another name, and no order; also with other strides."""
    for cells in (84, 340):
        found = [("output0", (1, 7, cells))]
        wanted = expect(found, "decoded", (64, 64), (3, 0, 0), "detect")
        assert find_problem(wanted, found, by_order=True) == ""
        assert find_order(wanted, found, ("detections",), by_order=True) == ()


def test_outputs_of_another_number_of_classes_are_those_of_another_head() -> None:
    """The sentence has both sides, and says what to do."""
    found = [("output0", (1, 84, 84))]
    wanted = expect(found, "decoded", (64, 64), (1, 0, 0), "detect")
    problem = find_problem(wanted, found, by_order=False)
    assert problem == explain_others(wanted, found)
    assert "has output0 [1, 84, 84]" in problem
    assert "need detections [1, 5, 84]: list every class" in problem
    assert "[?]" in explain_others(wanted, [("a", None)])
    assert "[1, ?]" in explain_others(wanted, [("a", (1, None))])


def test_further_outputs_beside_those_of_the_head_are_allowed_by_name() -> None:
    """A package finds the head's outputs by their names; a converter does not."""
    found = [*OWN, ("more", (1, 2))]
    assert find_problem(WANTED, found, by_order=False) == ""
    assert find_order(WANTED, found, PLAN, by_order=False) == ()
    assert find_problem(WANTED, found, by_order=True) != ""


def test_names_that_contradict_the_shapes_are_a_problem() -> None:
    """Some steps go by name and some by shape; such a file is rejected."""
    found = [("cls_s8", WANTED["box_s8"]), ("box_s8", WANTED["cls_s8"]), OWN[2]]
    for by_order in (False, True):
        problem = find_problem(WANTED, found, by_order)
        assert problem.startswith("has an output cls_s8 with the shape of box_s8")
    assert find_contradiction(("a", "b"), ("b", "c")) == ""


@pytest.mark.parametrize(
    ("row", "step", "told"),
    [
        ((0.25, 0.25, 0.5), 0, ""),
        ((-3.0, 0.5, 2.0), 0, "gives -3 as the probability of a class, which is below 0"),
        ((0.0, 0.5, 2.0), 0, "gives 2 as the probability of a class, which is above 1"),
        ((0.5, 0.5, 0.5), 0, "gives probabilities with the sum 1.5, not 1"),
        ((0.5, 0.5, 0.5), 1 / 256, "gives probabilities with the sum 1.5, not 1"),
        ((0.4,) * 2 + (0.002,) * 98, 1 / 256, ""),
        ((0.4,) * 2 + (0.0,) * 98, 1 / 256, ""),
        ((0.4,) * 2 + (0.0,) * 98, 0, "gives probabilities with the sum 0.8, not 1"),
        ((0.0001,) * 1000, 0, "gives probabilities with the sum 0.1, not 1"),
        ((0.0001,) * 1000, 1 / 32768, "gives probabilities with the sum 0.1, not 1"),
    ],
)
def test_logits_are_not_probabilities(row: tuple[float, ...], step: float, told: str) -> None:
    """Negative values, values above 1 and other sums are reported; values may be rounded."""
    problem, _, cure = explain_logits([row], step).partition(": ")
    assert problem == told
    assert bool(cure) == bool(told)
    assert ("decoder: none" in cure) == ("sum" in told)
    assert ("decoder: yolov8-raw" in cure) == ("probability of a class" in told)
