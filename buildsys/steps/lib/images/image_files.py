"""Write images, and fail where OpenCV's own function only returns False."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


def write(path: Path, image: "np.ndarray", options: "Sequence[int]" = ()) -> None:
    """Write an image, uint8 [h, w] or [h, w, 3] BGR, in the format of the path's ending.

    `options`: pairs of OpenCV's IMWRITE flags and values. Raises OSError, such as for a full disk.
    """
    import cv2

    is_encoded, data = cv2.imencode(path.suffix, image, list(options))
    assert is_encoded, path.name
    path.write_bytes(data.tobytes())
