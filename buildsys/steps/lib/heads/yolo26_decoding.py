"""Decode YOLO26's raw outputs to boxes with NumPy.

A box side is one number, the distance from the cell's centre in strides; keypoints are also
relative to the centre, and the angle of an oriented box is in radians. Source: Ultralytics'
`dist2bbox`, `dist2rbox` (utils/tal.py), `Pose26.kpts_decode` and `OBB26.forward_head`
(nn/modules/head.py), with `reg_max` 1.
"""

from typing import TYPE_CHECKING

from buildsys.steps.lib.heads import yolov8_decoding

if TYPE_CHECKING:
    import numpy as np


def decode_raw(
    outputs: "dict[str, np.ndarray]", height: int, width: int, dims: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Decode the raw head to (boxes [N, 4] x1 y1 x2 y2, scores [N, classes], keypoints [N, k, 3])."""
    import numpy as np

    centres, strides = _cells(outputs, height, width)
    sides = decode_sides(outputs)
    boxes = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], 1) * strides
    points = np.zeros((len(boxes), 0, 3))
    if "keypoints" in outputs:
        raw = outputs["keypoints"][0].reshape(len(boxes), -1, dims).astype(np.float64)
        places = (raw[..., :2] + centres[:, None]) * strides[:, None]
        seen = np.ones_like(places[..., :1])
        if dims == 3:
            seen = yolov8_decoding.sigmoid(raw[..., 2:3])
        points = np.concatenate([places, seen], -1)
    return boxes, yolov8_decoding.decode_scores(outputs), points


def decode_turned(
    outputs: "dict[str, np.ndarray]", height: int, width: int
) -> "tuple[np.ndarray, np.ndarray]":
    """Decode the raw head to (boxes [N, 5] x y w h angle, scores [N, classes]) in the network's
    pixels. The four distances are measured along the rotated axes.
    """
    import numpy as np

    centres, strides = _cells(outputs, height, width)
    sides = decode_sides(outputs)
    angles = outputs["angles"][0, :, 0].astype(np.float64)
    along = (sides[:, 2:] - sides[:, :2]) / 2
    cos, sin = np.cos(angles), np.sin(angles)
    x = along[:, 0] * cos - along[:, 1] * sin + centres[:, 0]
    y = along[:, 0] * sin + along[:, 1] * cos + centres[:, 1]
    size = sides[:, :2] + sides[:, 2:]
    boxes = np.concatenate([np.stack([x, y], 1), size], 1) * strides
    return np.concatenate([boxes, angles[:, None]], 1), yolov8_decoding.decode_scores(outputs)


def decode_sides(outputs: "dict[str, np.ndarray]") -> "np.ndarray":
    """Return distances [N, 4] left, top, right, bottom of the centre, in units of the cell's
    stride.
    """
    import numpy as np

    grids = yolov8_decoding.strides_of(outputs)
    return np.concatenate([outputs[f"box_s{stride}"][0] for stride in grids]).astype(np.float64)


def _cells(
    outputs: "dict[str, np.ndarray]", height: int, width: int
) -> "tuple[np.ndarray, np.ndarray]":
    """Return centres [N, 2] in units of their stride, and strides [N, 1]."""
    grids = yolov8_decoding.strides_of(outputs)
    centres, strides = yolov8_decoding.make_anchors(height, width, grids)
    return centres, strides[:, None]
