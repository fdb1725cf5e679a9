"""Apply the preprocessing contract, and read and write small sets of prepared images.

A set of images is a folder: `pictures.npy`, uint8 [n, height, width, 3] in the network's colour
order, and `sources.json`, the names of the original images.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import PAD_GREY, Preprocessing
from buildsys.steps.lib.heads.placement import Placement

if TYPE_CHECKING:
    import numpy as np


def letterbox(image: "np.ndarray", contract: Preprocessing) -> "tuple[np.ndarray, Placement]":
    """Fit a BGR image, uint8 [h, w, 3], into the contract's frame: by padding, or by cropping for
    center-crop.

    Returns the image uint8 [height, width, 3], and the placement of the original in it. Rounding
    and scaling follow Ultralytics: LetterBox, and torchvision's Resize and CenterCrop.
    """
    import cv2
    import numpy as np

    h, w = image.shape[:2]
    if contract.resize == "center-crop":
        return _crop(image, contract)
    scale = min(contract.height / h, contract.width / w)
    new_w, new_h = max(round(w * scale), 1), max(round(h * scale), 1)
    if (new_w, new_h) != (w, h):
        image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    left = round((contract.width - new_w) / 2 - 0.1)
    top = round((contract.height - new_h) / 2 - 0.1)
    frame = np.full((contract.height, contract.width, 3), PAD_GREY, np.uint8)
    frame[top : top + new_h, left : left + new_w] = image
    place = Placement(height=h, width=w, gain_x=new_w / w, gain_y=new_h / h, left=left, top=top)
    return frame[..., ::-1] if contract.color == "rgb" else frame, place


def _crop(image: "np.ndarray", contract: Preprocessing) -> "tuple[np.ndarray, Placement]":
    """Scale the image until it fills the frame, and cut off the excess equally on both sides.
    Pillow's bilinear scaling averages over everything that a new pixel covers, as in training;
    OpenCV's uses only two neighbours per side.
    """
    import numpy as np
    from PIL import Image

    h, w = image.shape[:2]
    # the longer side is rounded down, as in torchvision's Resize
    if contract.height * w >= contract.width * h:
        new_w, new_h = contract.height * w // h, contract.height
    else:
        new_w, new_h = contract.width, contract.width * h // w
    if (new_w, new_h) != (w, h):
        scaled = Image.fromarray(np.ascontiguousarray(image))
        image = np.asarray(scaled.resize((new_w, new_h), Image.Resampling.BILINEAR))
    left, top = round((new_w - contract.width) / 2), round((new_h - contract.height) / 2)
    frame = image[top : top + contract.height, left : left + contract.width]
    frame = frame[..., ::-1] if contract.color == "rgb" else frame
    place = Placement(height=h, width=w, gain_x=new_w / w, gain_y=new_h / h, left=-left, top=-top)
    return np.ascontiguousarray(frame), place


def load(folder: Path | None, contract: Preprocessing) -> "np.ndarray":
    """Return prepared images, uint8 [n, h, w, 3]; without a folder two synthetic ones.

    The synthetic images (smooth seeded noise) are used if a recipe has no data: a conversion can
    then still be compared with its input, on less meaningful images.
    """
    import numpy as np

    if folder is not None:
        return np.asarray(np.load(folder / "pictures.npy"))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, contract.height // 16, contract.width // 16, 3))
    return np.kron(coarse, np.ones((1, 16, 16, 1))).astype(np.uint8)


def save(folder: Path, pictures: "np.ndarray", sources: list[str]) -> None:
    """Write a set of prepared images."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pictures.npy", pictures)
    (folder / "sources.json").write_text(json.dumps(sources, indent=1) + "\n", encoding="utf-8")


def span_range(pictures: "np.ndarray") -> "np.ndarray":
    """Return the set [n, h, w, 3]; if it has no value 0 or no value 255, the first two pixels are
    set to them. A converter derives the input's scale from the calibration values, and firmware
    relies on the full range: 1/255.
    """
    if pictures.min() == 0 and pictures.max() == 255:
        return pictures
    spanning = pictures.copy()
    spanning[0, 0, 0], spanning[0, 0, 1] = 0, 255
    return spanning


def to_nchw(pictures: "np.ndarray") -> "np.ndarray":
    """Convert uint8 [n, h, w, 3] to float32 [n, 3, h, w] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / 255


def to_nhwc(pictures: "np.ndarray") -> "np.ndarray":
    """Convert uint8 [n, h, w, 3] to float32 [n, h, w, 3] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures, dtype=np.float32) / 255
