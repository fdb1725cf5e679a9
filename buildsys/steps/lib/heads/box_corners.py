"""The corners of oriented boxes: apart from `oriented_boxes`, because trainings draw labels with
them and rest on no measure of accuracy.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def corners_of(boxes: "np.ndarray") -> "np.ndarray":
    """Return the corners [n, 4, 2] of boxes [n, 5], in order around the box; a box is x, y,
    width, height and an angle in radians.
    """
    import numpy as np

    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    local = signs[None] * boxes[:, None, 2:4]
    cos, sin = np.cos(boxes[:, 4, None]), np.sin(boxes[:, 4, None])
    x = local[..., 0] * cos - local[..., 1] * sin
    y = local[..., 0] * sin + local[..., 1] * cos
    return np.asarray(np.stack([x, y], -1) + boxes[:, None, :2])
