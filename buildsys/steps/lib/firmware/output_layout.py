"""Assign a model's outputs by the rules that firmware uses; standard library only.

The facts come from these sources:

- SSCMA-Micro (Seeed-Studio/SSCMA-Micro, branch 1.0.x), core/algorithm/el_algorithm_yolo_world.cpp
  and .h at commit 4986c7b, el_algorithm_yolo_pose.cpp at df8ff0c, el_algorithm_yolov8.cpp at
  0438b08: `is_model_valid` and `init`. The input must be square, its side a multiple of 32.
  YOLO_WORLD reads six outputs, YOLO_POSE seven, each of rank 3 with batch 1. A last axis of 64 is a
  box output, of 1 (POSE) or of anything else (WORLD) a score output; which stride it is says the
  number of cells. POSE takes an output over all cells whose last axis is a multiple of 3 for the
  keypoints. YOLO_V8 reads the first output alone: [1, 5..84, N].
- Himax (HimaxWiseEyePlus/Seeed_Grove_Vision_AI_Module_V2, branch main, commit 04aab3e),
  scenario_app/tflm_yolov8_od/cvapp_yolov8n_ob.cpp and tflm_yolov8_pose/cvapp_yolov8_pose.cpp: no
  output is checked, each is read by its place; one class and 17 keypoints are compiled in (pose).
"""

from dataclasses import dataclass

from buildsys.spec import REG_MAX, STRIDES

DECODERS = ("himax-od", "himax-pose", "sscma-yolov8", "sscma-world", "sscma-pose")
"""Firmware decoders that are emulated."""

HIMAX_KEYPOINTS = 17
Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Indices of outputs in the file: boxes and scores per stride (8, 16, 32), or one of each.
    `keypoints` is None if the decoder reads none.
    """

    boxes: tuple[int, ...]
    scores: tuple[int, ...]
    keypoints: int | None = None


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network in the recipe: side lengths in pixels, classes, keypoints."""

    height: int
    width: int
    classes: int
    keypoints: int = 0
    keypoint_dims: int = 3

    def cells(self) -> tuple[int, ...]:
        """Return the number of cells per stride."""
        return tuple((self.height // s) * (self.width // s) for s in STRIDES)


def assign(decoder: str, shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    """Return the role of each output for the decoder, or a sentence that says why they do not fit.
    `shapes`: those of all outputs, in file order, with the batch axis.
    """
    if network.height != network.width or network.height % 32:
        size = f"{network.width}x{network.height}"
        return f"{decoder} takes a square input whose side is a multiple of 32; the network's is {size}."
    rules = {
        "himax-od": _himax_od,
        "himax-pose": _himax_pose,
        "sscma-yolov8": _sscma_yolov8,
        "sscma-world": _sscma_world,
        "sscma-pose": _sscma_pose,
    }
    return rules[decoder](shapes, network)


def _himax_od(shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    cells = sum(network.cells())
    wanted = ((1, 4, cells), (1, cells, network.classes))
    if shapes != wanted:
        return _differs("himax-od", wanted, shapes, "in this order")
    return Roles(boxes=(0,), scores=(1,))


def _himax_pose(shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    s8, s16, s32 = network.cells()
    box, points = 4 * REG_MAX, 3 * HIMAX_KEYPOINTS
    wanted = (
        (1, s16, box),
        (1, s8, box),
        (1, s32, 1),
        (1, s8 + s16 + s32, points),
        (1, s8, 1),
        (1, s32, box),
        (1, s16, 1),
    )
    if shapes != wanted:
        return _differs("himax-pose", wanted, shapes, "in this order")
    return Roles(boxes=(1, 0, 5), scores=(4, 6, 2), keypoints=3)


def _sscma_yolov8(shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    wanted = ((1, 4 + network.classes, sum(network.cells())),)
    if shapes != wanted:
        extra = ""
        if network.keypoints and len(shapes) == 1:
            extra = " It would take keypoints for classes."
        return _differs("sscma-yolov8", wanted, shapes, "alone") + extra
    if network.classes > 80:
        return f"sscma-yolov8 reads at most 80 classes; the network has {network.classes}."
    return Roles(boxes=(0,), scores=(0,))


def _sscma_world(shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    wanted = _raw_shapes(network)
    if network.classes == 4 * REG_MAX:
        return (
            "sscma-world distinguishes boxes and classes by the last axis, and with 64 classes both"
            " are 64 wide. Train with another number of classes."
        )
    places = _by_stride(shapes, network, network.classes)
    if len(shapes) != 6 or places is None:
        return _differs("sscma-world", wanted, shapes, "in any order")
    return Roles(boxes=places[0], scores=places[1])


def _sscma_pose(shapes: tuple[Shape, ...], network: Network) -> Roles | str:
    rows = sum(network.cells())
    points = (1, rows, network.keypoints * 3)
    found = [i for i, shape in enumerate(shapes) if shape == points]
    places = _by_stride(shapes, network, 1)
    if len(shapes) != 7 or len(found) != 1 or places is None or network.keypoint_dims != 3:
        text = _differs("sscma-pose", (*_raw_shapes(network, 1), points), shapes, "in any order")
        if network.keypoint_dims != 3:
            text += " It reads three values a keypoint: x, y, visibility."
        return text
    return Roles(boxes=places[0], scores=places[1], keypoints=found[0])


def _by_stride(
    shapes: tuple[Shape, ...], network: Network, classes: int
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the indices of the box and score outputs for strides 8, 16, 32; None unless there is
    exactly one of each.
    """
    places = []
    for width in (4 * REG_MAX, classes):
        for count in network.cells():
            found = [i for i, shape in enumerate(shapes) if shape == (1, count, width)]
            if len(found) != 1:
                return None
            places.append(found[0])
    return tuple(places[:3]), tuple(places[3:])


def _raw_shapes(network: Network, classes: int | None = None) -> tuple[Shape, ...]:
    widths = (4 * REG_MAX, network.classes if classes is None else classes)
    return tuple((1, count, width) for width in widths for count in network.cells())


def _differs(decoder: str, wanted: tuple[Shape, ...], found: tuple[Shape, ...], how: str) -> str:
    return f"{decoder} decodes {_list(wanted)} {how}; the file has {_list(found)}."


def _list(shapes: tuple[Shape, ...]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
