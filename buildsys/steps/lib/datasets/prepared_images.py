"""The preprocessing contract, and the small sets of prepared pictures that steps pass around.

A set of pictures is a folder: `pictures.npy`, uint8 [n, height, width, 3] in the network's colour
order, and `sources.json`, the names of the photographs they came from.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import PAD_GREY, Preprocessing
from buildsys.steps.lib.heads.placement import Placement

if TYPE_CHECKING:
    import numpy as np


def letterbox(image: "np.ndarray", contract: Preprocessing) -> "tuple[np.ndarray, Placement]":
    """Fit BGR uint8 [h, w, 3] into the contract's frame, by padding it or, where the contract says
    center-crop, by cutting it.

    Returns the picture uint8 [height, width, 3], and where the photograph lies in it. Rounding and
    scaling follow Ultralytics: its LetterBox, and torchvision's Resize and CenterCrop.
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
    """Scaled by one factor until the frame is full, what stands over cut off on both sides alike.

    Pillow's bilinear scaling averages over all that a new pixel covers, as in training; OpenCV's
    would take two neighbours a side and leave out the rest.
    """
    import numpy as np
    from PIL import Image

    h, w = image.shape[:2]
    # the longer side rounds down, as torchvision's Resize does it
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
    """Prepared pictures, uint8 [n, h, w, 3]; without a folder two synthetic ones.

    The synthetic ones (smooth seeded noise) serve where a recipe gives no data at all: a
    conversion can still be compared with its input, only on less telling pictures.
    """
    import numpy as np

    if folder is not None:
        return np.asarray(np.load(folder / "pictures.npy"))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, contract.height // 16, contract.width // 16, 3))
    return np.kron(coarse, np.ones((1, 16, 16, 1))).astype(np.uint8)


def save(folder: Path, pictures: "np.ndarray", sources: list[str]) -> None:
    """Write a set of prepared pictures."""
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "pictures.npy", pictures)
    (folder / "sources.json").write_text(json.dumps(sources, indent=1) + "\n", encoding="utf-8")


def span_range(pictures: "np.ndarray") -> "np.ndarray":
    """The set [n, h, w, 3]; where no value of it is 0, or none 255, with a first picture whose first
    two pixels are.

    A converter takes the input's scale from the values that it is shown, and firmwares count on the
    whole range: 1/255.
    """
    if pictures.min() == 0 and pictures.max() == 255:
        return pictures
    spanning = pictures.copy()
    spanning[0, 0, 0], spanning[0, 0, 1] = 0, 255
    return spanning


def to_nchw(pictures: "np.ndarray") -> "np.ndarray":
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / 255


def to_nhwc(pictures: "np.ndarray") -> "np.ndarray":
    """uint8 [n, h, w, 3] -> float32 [n, h, w, 3] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures, dtype=np.float32) / 255
