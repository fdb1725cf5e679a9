"""Which role a firmware assigns to each output, and the messages for unrecognized ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsys.steps.lib.firmware.output_layout import Network, Roles, assign
from buildsys.steps.lib.heads.outputs import head_outputs

_SIDES = st.integers(1, 20).map(lambda n: 32 * n)
_HIMAX = ("box_s16", "box_s8", "cls_s32", "keypoints", "cls_s8", "box_s32", "cls_s16")


def _named(network: Network) -> dict[str, tuple[int, ...]]:
    tensors = head_outputs(
        "raw",
        network.height,
        network.width,
        network.classes,
        network.keypoints,
        network.keypoint_dims,
    )
    return {tensor.name: tensor.shape for tensor in tensors}


def _network(side: int = 192, classes: int = 1, keypoints: int = 0, dims: int = 3) -> Network:
    return Network(
        height=side, width=side, classes=classes, keypoints=keypoints, keypoint_dims=dims
    )


def _names(roles: Roles | str, order: tuple[str, ...]) -> tuple[str, ...]:
    assert isinstance(roles, Roles), roles
    points = () if roles.keypoints is None else (roles.keypoints,)
    return tuple(order[place] for place in (*roles.boxes, *roles.scores, *points))


@given(side=_SIDES, classes=st.integers(1, 80).filter(lambda n: n != 64), data=st.data())
def test_world_finds_its_outputs_in_any_order(side: int, classes: int, data: st.DataObject) -> None:
    """The outputs of World are recognized in any order."""
    network = _network(side, classes)
    shapes = _named(network)
    order = tuple(data.draw(st.permutations(list(shapes))))
    roles = assign("sscma-world", tuple(shapes[name] for name in order), network)
    assert _names(roles, order) == tuple(shapes)


@given(side=_SIDES, keypoints=st.integers(1, 30), data=st.data())
def test_pose_finds_its_outputs_in_any_order(
    side: int, keypoints: int, data: st.DataObject
) -> None:
    """The outputs of Pose are recognized in any order."""
    network = _network(side, 1, keypoints)
    shapes = _named(network)
    order = tuple(data.draw(st.permutations(list(shapes))))
    roles = assign("sscma-pose", tuple(shapes[name] for name in order), network)
    assert _names(roles, order) == tuple(shapes)


def test_himax_reads_by_place() -> None:
    """Himax's firmware needs its compiled-in output order."""
    network = _network(192, 1, 17)
    shapes = _named(network)
    roles = assign("himax-pose", tuple(shapes[name] for name in _HIMAX), network)
    assert _names(roles, _HIMAX) == tuple(shapes)
    assert assign("himax-pose", tuple(shapes.values()), network) == (
        "himax-pose decodes [1, 144, 64], [1, 576, 64], [1, 36, 1], [1, 756, 51], [1, 576, 1],"
        " [1, 36, 64], [1, 144, 1] in this order; the file has [1, 576, 64], [1, 144, 64],"
        " [1, 36, 64], [1, 576, 1], [1, 144, 1], [1, 36, 1], [1, 756, 51]."
    )


def test_a_single_output_is_not_what_himax_od_decodes() -> None:
    """Ultralytics' standard export is refused for himax-od, with both layouts in the message."""
    assert assign("himax-od", ((1, 84, 756),), _network(classes=80)) == (
        "himax-od decodes [1, 4, 756], [1, 756, 80] in this order; the file has [1, 84, 756]."
    )


def test_64_classes_look_like_boxes() -> None:
    """With 64 classes scores look like boxes; the message says so."""
    network = _network(classes=64)
    told = assign("sscma-world", tuple(_named(network).values()), network)
    assert told == (
        "sscma-world distinguishes boxes and classes by the last axis, and with 64 classes both"
        " are 64 wide. Train with another number of classes."
    )


@pytest.mark.parametrize(
    ("decoder", "shapes", "network", "part"),
    [
        ("sscma-yolov8", ((1, 56, 756),), _network(192, 1, 17), "keypoints for classes"),
        ("sscma-pose", ((1, 84, 756),), _network(192, 1, 17), "in any order; the file has"),
        (
            "sscma-pose",
            tuple(_named(_network(192, 1, 3, 2)).values()),
            _network(192, 1, 3, 2),
            "three values a keypoint",
        ),
        ("sscma-world", ((1, 5, 756),), _network(), "[1, 576, 64]"),
        ("sscma-world", (), Network(height=192, width=320, classes=1), "square"),
    ],
)
def test_what_is_not_recognized_is_reported(
    decoder: str, shapes: tuple[tuple[int, ...], ...], network: Network, part: str
) -> None:
    """An unrecognized layout is one sentence, never a partial match."""
    told = assign(decoder, shapes, network)
    assert isinstance(told, str)
    assert part in told
