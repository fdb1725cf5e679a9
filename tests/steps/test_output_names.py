"""Outputs of a file are found by name, then by shape, then by position."""

import itertools

import pytest

from buildsys.steps.lib.heads.output_names import alike, assign
from buildsys.steps.lib.heads.outputs import HEADS, head_outputs

CASES = [(head, task) for head, tasks in HEADS.items() for task in tasks]
SIZES = {"box_s8": (1, 64, 64), "cls_s8": (1, 64, 3), "keypoints": (1, 84, 12)}


def shapes_of(head: str, task: str, classes: int = 3) -> dict[str, tuple[int, ...]]:
    """The outputs of a head for an input of 64 x 64 pixels."""
    points = (4, 3) if task == "pose" else (0, 0)
    outputs = head_outputs(head, 64, 64, classes, *points, task)
    return {tensor.name: tensor.shape for tensor in outputs}


@pytest.mark.parametrize(("head", "task"), CASES)
def test_every_order_of_a_heads_outputs_is_recognized(head: str, task: str) -> None:
    """Names of other tools, in any order, are the head's names by their shapes."""
    wanted = shapes_of(head, task)
    for order in itertools.islice(itertools.permutations(wanted), 50):
        foreign = [(f"output_{index}", wanted[name]) for index, name in enumerate(order)]
        assert assign(wanted, foreign) == order
        assert assign(wanted, [(name, wanted[name]) for name in order]) == order


def test_names_decide_between_equal_shapes() -> None:
    """A file's own names decide; without them, outputs of equal shape are in the head's order."""
    wanted = shapes_of("yolox-split", "detect", classes=1)
    assert wanted["objectness"] == wanted["classes"]
    own = ("classes", "boxes", "objectness")
    assert assign(wanted, [(name, wanted[name]) for name in own]) == own
    mixed = [("a", wanted["boxes"]), ("classes", wanted["classes"]), ("b", wanted["objectness"])]
    assert assign(wanted, mixed) == ("boxes", "classes", "objectness")
    plain = [("a", wanted["classes"]), ("b", wanted["boxes"]), ("c", wanted["classes"])]
    assert assign(wanted, plain) == ("objectness", "boxes", "classes")


def test_a_name_counts_only_with_its_shape() -> None:
    """An output that has another output's name is the one that its shape says."""
    found = [("keypoints", (1, 64, 3)), ("cls_s8", (1, 84, 12)), ("x", (1, 64, 64))]
    assert assign(SIZES, found) == ("cls_s8", "keypoints", "box_s8")


def test_open_axes_fit_what_is_left() -> None:
    """Outputs with one possible meaning come first; an unknown shape is what is left."""
    found = [("a", None), ("b", (None, None, 3)), ("c", (1, None, 64))]
    assert assign(SIZES, found) == ("keypoints", "cls_s8", "box_s8")


@pytest.mark.parametrize(
    "found",
    [
        [("a", (1, 64, 64)), ("b", (1, 64, 3))],
        [("a", (1, 64, 64)), ("b", (1, 64, 3)), ("c", (1, 64, 3))],
        [("box_s8", (1, 64, 64)), ("cls_s8", (1, 64, 4)), ("keypoints", (1, 84, 12))],
    ],
    ids=("fewer", "equal shapes", "another number"),
)
def test_other_outputs_are_not_the_heads(found: list[tuple[str, tuple[int, ...]]]) -> None:
    """Outputs of another number or shape are not those of the head, whatever their names."""
    assert assign(SIZES, found) is None


def test_channels_may_be_first() -> None:
    """Four axes may have the channels before height and width."""
    assert alike((1, 16, 16, 32), (1, 32, 16, 16))
    assert alike((1, 16, 16, 32), (1, 16, None, 32))
    assert not alike((1, 16, 16, 32), (1, 16, 32, 16))
