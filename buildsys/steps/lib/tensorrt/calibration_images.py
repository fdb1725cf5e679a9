"""Calibration images for TensorRT: how many are recommended, and the file that the program which builds
engines reads without NumPy.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.steps.lib.runtime.progress import report

if TYPE_CHECKING:
    import numpy as np

RECOMMENDED = 500
"""Recommended number of calibration images: about what TensorRT's guide found sufficient for
ImageNet.
"""


def save(path: Path, pictures: "np.ndarray") -> None:
    """Write uint8 [n, h, w, 3] as .npy of float32 [n, 3, h, w] in 0..1, image by image, because all
    at once might not fit into memory.
    """
    import numpy as np

    from buildsys.steps.lib.images import prepared_images

    count, height, width, channels = pictures.shape
    shape = (count, channels, height, width)
    array = np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape, version=(1, 0))
    for index in range(count):
        array[index : index + 1] = prepared_images.to_nchw(pictures[index : index + 1])
        report(index + 1, count, "calibration images")
    array.flush()
