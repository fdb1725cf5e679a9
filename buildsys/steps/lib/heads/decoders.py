"""Decode the named outputs of any box head to boxes, scores and keypoints."""

from typing import TYPE_CHECKING

from buildsys.steps.lib.heads.branches import layout

if TYPE_CHECKING:
    import numpy as np

Decoded = tuple["np.ndarray", "np.ndarray", "np.ndarray"]
"""Boxes [N, 4] x1 y1 x2 y2 and keypoints [N, k, 3] in pixels of the input, scores [N, classes]."""


def decode(
    outputs: "dict[str, np.ndarray]", head: str, height: int, width: int, classes: int, dims: int
) -> Decoded:
    """Decode one image's float outputs with the batch axis; returns boxes, scores, keypoints.
    `head`: one of `outputs.HEADS`; `dims`: values per keypoint, 0 if there are none.
    """
    from buildsys.steps.lib.heads import yolo26_decoding, yolov8_decoding, yolox_decoding

    head = layout(head)
    if head.startswith("yolox-"):
        return yolox_decoding.decode(outputs, head, classes, height, width)
    if head == "raw":
        return yolov8_decoding.decode_raw(outputs, height, width, dims)
    if head == "yolo26-raw":
        return yolo26_decoding.decode_raw(outputs, height, width, dims)
    if head == "split":
        outputs = {"detections": yolov8_decoding.join_split(outputs["boxes"], outputs["scores"])}
    shares = head in ("split", "normalized")
    detections = outputs["detections"]
    if shares:
        detections = yolov8_decoding.to_pixels(detections, height, width)
    boxes, scores, keypoints = yolov8_decoding.decode_detections(detections, classes, dims)
    if shares:
        keypoints[..., :2] *= (width, height)
    return boxes, scores, keypoints


def decode_turned(
    outputs: "dict[str, np.ndarray]", head: str, height: int, width: int, classes: int
) -> "tuple[np.ndarray, np.ndarray]":
    """Decode one image's float outputs of an obb network to boxes [N, 5] in pixels of the input and
    scores [N, classes].
    """
    from buildsys.steps.lib.heads import oriented_boxes, yolo26_decoding, yolov8_decoding

    head = layout(head)
    if head == "yolo26-raw":
        return yolo26_decoding.decode_turned(outputs, height, width)
    if head == "raw":
        return oriented_boxes.decode_raw(outputs, height, width)
    detections = outputs["detections"]
    if head == "normalized":
        detections = yolov8_decoding.to_pixels(detections, height, width)
    return oriented_boxes.decode_detections(detections, classes)
