"""Which of Ultralytics' networks are supported, by name and by a checkpoint's head."""

import pytest

from buildsys.steps.lib.families.ultralytics_architectures import (
    USUAL,
    architecture_problem,
    head_problem,
)


@pytest.mark.parametrize("name", [*USUAL, "yolo26n-p2", "yolov10b"])
def test_supported_networks_have_no_problem(name: str) -> None:
    """Names that are suggested, YOLO26's among them, are supported."""
    assert architecture_problem(name) is None


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("yolo26s-sem", "`architecture: yolo26s-seg`"),
        ("yolo26-depth", "`architecture: yolo26n`"),
        ("yoloe-26s-seg", "train the classes with `architecture: yolo26s-seg`"),
    ],
)
def test_a_refused_network_has_a_substitute(name: str, instead: str) -> None:
    """The substitute is of the same version and size."""
    problem = architecture_problem(name)
    assert problem is not None
    assert problem[1].startswith(instead)


def test_a_misspelled_network_of_yolo26_is_only_unknown() -> None:
    """No reason is given for a network that does not exist."""
    assert architecture_problem("yolo26n-sgm") is None


@pytest.mark.parametrize("head", ["Segment26", "Pose26", "OBB26"])
@pytest.mark.parametrize("architecture", ["", "custom"])
def test_a_head_of_yolo26_needs_the_name_of_its_network(head: str, architecture: str) -> None:
    """The head alone does not decide how a network is exported; its name does."""
    problem = head_problem(head, 3, 1, architecture)
    assert problem is not None
    assert problem[0].startswith("its head is YOLO26's")
    assert head_problem(head, 3, 1, "yolo26n-seg") is None
