"""Decode a YOLOX network's outputs to detections with NumPy.

A cell's box: centre = (cell's corner + offset) * stride, size = exp(value) * stride; its score for
a class is objectness times the class's probability. Source: YOLOX's `decode_outputs`,
`postprocess`.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_LARGEST = 20.0
"""Maximum of the logarithm of a size, far beyond any image: an untrained network must not overflow.
"""


def decode(
    outputs: "dict[str, np.ndarray]", head: str, classes: int, height: int, width: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Decode named outputs to (boxes [N, 4] x1 y1 x2 y2 in pixels, scores [N, classes], keypoints
    [N, 0, 3]).

    `head`: yolox-decoded, yolox-concatenated or yolox-split; the outputs are those of one image as
    listed in `buildsys.spec`. The results are float64.
    """
    import numpy as np

    rows = _rows(outputs, head).astype(np.float64)
    boxes = rows[:, :4] if head == "yolox-decoded" else _to_pixels(rows[:, :4], height, width)
    centre, size = boxes[:, :2], boxes[:, 2:]
    corners = np.concatenate([centre - size / 2, centre + size / 2], 1)
    return corners, rows[:, 4:5] * rows[:, 5 : 5 + classes], np.zeros((len(rows), 0, 3))


def _rows(outputs: "dict[str, np.ndarray]", head: str) -> "np.ndarray":
    """Return rows [N, 5 + classes] for any head."""
    import numpy as np

    if head == "yolox-split":
        parts = [outputs[name][0] for name in ("boxes", "objectness", "classes")]
        return np.concatenate(parts, 1)
    return np.asarray(outputs["detections" if head == "yolox-decoded" else "predictions"][0])


def _to_pixels(boxes: "np.ndarray", height: int, width: int) -> "np.ndarray":
    """Convert offsets and logarithms of sizes [N, 4] to cx, cy, w, h in pixels."""
    import numpy as np

    from buildsys.steps.lib.heads.yolov8_decoding import make_anchors

    centres, strides = make_anchors(height, width)
    places = (boxes[:, :2] + centres - 0.5) * strides[:, None]
    sizes = np.exp(np.minimum(boxes[:, 2:], _LARGEST)) * strides[:, None]
    return np.concatenate([places, sizes], 1)
