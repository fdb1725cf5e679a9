"""Select the objects of an image from all cells, according to the head's branch.

For a one-to-one branch the cells with the highest scores are the objects; any other branch needs
suppression.
"""

from typing import TYPE_CHECKING

from buildsys.steps.lib.heads import oriented_boxes, yolov8_decoding
from buildsys.steps.lib.heads.branches import is_one_to_one
from buildsys.steps.lib.heads.yolov8_decoding import MEASURED, Choice, Detections

if TYPE_CHECKING:
    import numpy as np


def choose(
    head: str,
    boxes: "np.ndarray",
    scores: "np.ndarray",
    keypoints: "np.ndarray",
    *,
    choice: Choice = MEASURED,
) -> Detections:
    """Return the objects from axis-aligned boxes [N, 4], scores [N, classes] and keypoints [N, k,
    3].
    """
    cells, classes, values = select(head, boxes, scores, choice)
    return Detections(
        boxes=boxes[cells], scores=values, classes=classes, keypoints=keypoints[cells]
    )


def select(
    head: str, boxes: "np.ndarray", scores: "np.ndarray", choice: Choice = MEASURED
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Return the objects' cells [n], classes [n] and scores [n], best first."""
    if not is_one_to_one(head):
        return yolov8_decoding.select(boxes, scores, choice)
    cells, classes, values = yolov8_decoding.candidates(scores, choice)
    return cells[: choice.most], classes[: choice.most], values[: choice.most]


def choose_turned(
    head: str,
    boxes: "np.ndarray",
    scores: "np.ndarray",
    *,
    choice: Choice = oriented_boxes.MEASURED,
) -> oriented_boxes.Turned:
    """Return the objects from oriented boxes [N, 5] and scores [N, classes]."""
    if not is_one_to_one(head):
        return oriented_boxes.suppress(boxes, scores, choice=choice)
    cells, classes, values = select(head, boxes, scores, choice)
    return oriented_boxes.Turned(boxes=boxes[cells], scores=values, classes=classes)
