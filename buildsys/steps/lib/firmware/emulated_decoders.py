"""Emulate in NumPy how firmware decodes a model's integer outputs, including its quirks.

The facts come from the sources named in `output_layout`, and from core/utils/el_nms.cpp (c00a00b),
core/el_types.h of SSCMA-Micro and yolo_postprocessing.cc of Himax' tflm_yolov8_pose:

- himax-od: score >= 0.25, best class per cell (the first of equals); coordinates times the side.
  himax-pose: sigmoid(score) >= 0.25, 17 keypoints. Both: overlap above 0.45 removes, whatever the
  class; the overlap is computed as if x, y, the upper left corner, were the centre; at most 40
  results; coordinates end as unsigned integers, cut off.
- sscma-world: the threshold (30 %) is turned into an integer logit (rounded down), the best class
  is the last of equals; the score is 1 / (1 + e) with Schraudolph's approximation of the exponential
  (N. Schraudolph, "A Fast, Compact Approximation of the Exponential Function", 1999), as a whole
  percentage, cut off; x, y (the centre), w, h are unsigned 16-bit integers, cut off.
- sscma-yolov8: score above 50 %; a scale below 0.1 means that boxes are normalized and scores are
  0..1; any other, that boxes are pixels and scores 0..100. Clipped to the frame, cut off.
- sscma-world, sscma-yolov8: overlap as a whole percentage above 45 removes within a class; it is
  computed on the integers as if x, y, the centre, were the upper left corner.
- sscma-pose: sigmoid(score) >= 50 % (el_algorithm_yolo_pose.h at 56e9cdc; 70 at 3199e64); overlap
  above 0.45 of the unrounded boxes removes; box, keypoints and score rounded to the nearest.
- sscma-*: the softmax of a box side subtracts no maximum: logits above 88 overflow float32.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.steps.lib.firmware.arithmetic import (
    Tensor,
    fast_exp,
    fast_log,
    over_strides,
    raw_boxes,
    raw_keypoints,
    sigmoid,
    unsigned,
)
from buildsys.steps.lib.firmware.output_layout import Network, Roles, assign

if TYPE_CHECKING:
    import numpy as np

PERCENTAGE = 0.45499999
"""Overlaps of 45.5 % and more round to more than 45."""

MOST_HIMAX_RESULTS = 40
"""MAX_TRACKED_YOLOV8_ALGO_RES in Himax' spi_protocol.h."""

UNVERIFIED = {
    "himax": (
        "what a negative coordinate becomes as an unsigned integer (taken for 0 here)",
        "that the input size compiled into the firmware is this model's",
    ),
    "sscma": (
        "what a negative coordinate becomes as an unsigned integer (taken for 0 here)",
        "thresholds on the board: defaults differ between commits (pose 50 or 70), AT commands change them",
        "which commit of branch 1.0.x the board's firmware was built from",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a decoder keeps: scores of at least `score`, overlaps of at most `overlap`, both 0..1.

    `per_class`: only boxes of one class remove each other.
    """

    score: float
    overlap: float
    per_class: bool


THRESHOLDS = {
    "himax-od": Thresholds(score=0.25, overlap=0.45, per_class=False),
    "himax-pose": Thresholds(score=0.25, overlap=0.45, per_class=False),
    "sscma-yolov8": Thresholds(score=0.5, overlap=PERCENTAGE, per_class=True),
    "sscma-world": Thresholds(score=0.3, overlap=PERCENTAGE, per_class=True),
    "sscma-pose": Thresholds(score=0.5, overlap=0.45, per_class=False),
}


@dataclass(frozen=True, kw_only=True)
class Reported:
    """What a firmware reports, one row per cell above its threshold.

    boxes [n, 4] x, y, w, h in input pixels; x, y is the centre (SSCMA) or the upper left corner
    (Himax). scores [n] 0..1; classes, cells [n]; keypoints [n, k, 2] in pixels. `kept`: rows that
    remain after its suppression, best first.
    """

    boxes: "np.ndarray"
    scores: "np.ndarray"
    classes: "np.ndarray"
    cells: "np.ndarray"
    keypoints: "np.ndarray"
    kept: tuple[int, ...]


def decode(decoder: str, tensors: tuple[Tensor, ...], network: Network) -> Reported | str:
    """Decode one image, or return a sentence if the decoder would not recognize the outputs."""
    roles = assign(decoder, tuple(tuple(t.values.shape) for t in tensors), network)
    if isinstance(roles, str):
        return roles
    bodies: dict[str, Callable[[tuple[Tensor, ...], Roles, Network], Reported]] = {
        "himax-od": _himax_od,
        "himax-pose": _himax_pose,
        "sscma-yolov8": _sscma_yolov8,
        "sscma-world": _sscma_world,
        "sscma-pose": _sscma_pose,
    }
    return bodies[decoder](tensors, roles, network)


def _himax_od(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> Reported:
    import numpy as np

    boxes = tensors[roles.boxes[0]].real()[0].T * np.float32(network.width)
    scores = tensors[roles.scores[0]].real()[0]
    classes = scores.argmax(1)
    corners = np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    return _himax(corners, scores.max(1), classes, np.zeros((len(boxes), 0, 2)), np.inf)


def _himax_pose(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> Reported:
    import numpy as np

    centres, sizes = raw_boxes(tensors, roles, network, stable=True)
    scores = sigmoid(over_strides(tensors, roles.scores))[:, 0]
    corners = np.concatenate([centres - sizes / 2, sizes], 1)
    points = raw_keypoints(tensors, roles, network)
    return _himax(corners, scores, np.zeros(len(scores), int), points, network.width)


def _himax(
    corners: "np.ndarray",
    scores: "np.ndarray",
    classes: "np.ndarray",
    points: "np.ndarray",
    most: float,
) -> Reported:
    """Suppress, then truncate; `most`: the pose firmware's limit for coordinates in pixels."""
    import numpy as np

    limits = THRESHOLDS["himax-od"]
    cells = np.flatnonzero(scores >= np.float32(limits.score))
    corners, scores = corners[cells], scores[cells]
    # quirk of the overlap: it uses the corner instead of the centre
    halves = corners[:, 2:] / 2
    spans = np.concatenate([corners[:, :2] - halves, corners[:, :2] + halves], 1)
    kept = _suppress(spans, scores, np.zeros(len(cells), int), limits.overlap)
    return Reported(
        boxes=np.minimum(unsigned(corners), most),
        scores=scores,
        classes=classes[cells],
        cells=cells,
        keypoints=np.minimum(unsigned(points[cells]), most),
        kept=kept[:MOST_HIMAX_RESULTS],
    )


def _sscma_yolov8(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> Reported:
    import numpy as np

    tensor = tensors[0]
    rows = tensor.real()[0].T
    classes = tensor.values[0, 4:].argmax(0)
    percent = rows[:, 4:].max(1)
    boxes = rows[:, :4]
    if tensor.scale < 0.1:
        percent, boxes = percent * 100, boxes * np.float32(network.width)
    cells = np.flatnonzero(percent > 100 * THRESHOLDS["sscma-yolov8"].score)
    boxes = np.clip(boxes[cells], 0, network.width)
    return _sscma(boxes, percent[cells], classes[cells], cells)


def _sscma_world(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> Reported:
    import numpy as np

    centres, sizes = raw_boxes(tensors, roles, network, stable=False)
    limit = THRESHOLDS["sscma-world"].score
    best, scores, seen = [], [], []
    for place in roles.scores:
        tensor, values = tensors[place], tensors[place].values[0].astype(np.int32)
        logit = -fast_log(1 / limit - 1)
        least = int(np.floor(logit / tensor.scale)) + tensor.zero_point
        best.append(values.shape[1] - 1 - values[:, ::-1].argmax(1))
        top = values.max(1)
        seen.append(top >= least)
        scores.append(1 / (1 + fast_exp(-(top - tensor.zero_point) * np.float32(tensor.scale))))
    cells = np.flatnonzero(np.concatenate(seen))
    boxes = np.concatenate([centres, sizes], 1)[cells]
    return _sscma(boxes, np.concatenate(scores)[cells] * 100, np.concatenate(best)[cells], cells)


def _sscma(
    boxes: "np.ndarray", percent: "np.ndarray", classes: "np.ndarray", cells: "np.ndarray"
) -> Reported:
    """Return the detections as SSCMA reports them: it rounds to integers before it suppresses."""
    import numpy as np

    boxes, percent = unsigned(boxes), np.floor(percent)
    # quirk of the overlap: it uses the centre instead of the corner
    spans = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return Reported(
        boxes=boxes,
        scores=percent / 100,
        classes=classes,
        cells=cells,
        keypoints=np.zeros((len(cells), 0, 2)),
        kept=_suppress(spans, percent, classes, PERCENTAGE, last_first=True),
    )


def _sscma_pose(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> Reported:
    import numpy as np

    limits = THRESHOLDS["sscma-pose"]
    centres, sizes = raw_boxes(tensors, roles, network, stable=False)
    scores = sigmoid(over_strides(tensors, roles.scores))[:, 0]
    cells = np.flatnonzero(scores >= np.float32(limits.score))
    centres, sizes, scores = centres[cells], sizes[cells], scores[cells]
    spans = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    same = np.zeros(len(cells), int)
    boxes = np.concatenate([centres, sizes], 1)
    return Reported(
        boxes=unsigned(boxes + 0.5),
        scores=np.floor(scores * 100 + 0.5) / 100,
        classes=same,
        cells=cells,
        keypoints=unsigned(raw_keypoints(tensors, roles, network)[cells] + 0.5),
        kept=_suppress(spans, scores, same, limits.overlap, last_first=True),
    )


def _suppress(
    spans: "np.ndarray",
    scores: "np.ndarray",
    groups: "np.ndarray",
    overlap: float,
    last_first: bool = False,
) -> tuple[int, ...]:
    """Return the remaining rows, best first; among equal scores the last cell is first if
    `last_first`.
    """
    import numpy as np

    from buildsys.steps.lib.heads import yolov8_decoding

    rows = np.arange(len(scores))
    rows = rows[::-1] if last_first else rows
    order = rows[np.argsort(-scores[rows], kind="stable")]
    kept = yolov8_decoding.greedy(spans[order].astype(np.float64), groups[order], overlap)
    return tuple(int(order[row]) for row in kept)
