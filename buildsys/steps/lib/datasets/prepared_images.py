"""The preprocessing contract, and the small sets of prepared pictures that steps pass around.

A set of pictures is a folder: `pictures.npy`, uint8 [n, height, width, 3] in the network's colour
order, and `sources.json`, the names of the photographs they came from.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import PAD_GREY, Preprocessing
from buildsys.steps.lib.heads.placement import Placement
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import numpy as np


def read_image(path: Path) -> "np.ndarray":
    """A photograph, uint8 [h, w, 3] BGR; ends the step when the file is damaged or empty."""
    import cv2
    import numpy as np

    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        fail(f"{path.name} is not a readable image ({data.size} bytes); mend or remove it.")
    if is_cut_off(data.tobytes()):
        fail(f"{path.name} is cut off after {data.size} bytes; fetch it again, or remove it.")
    return np.asarray(image)


def is_cut_off(data: bytes) -> bool:
    """Whether a picture's end is missing; decoders fill up with grey and say nothing."""
    if data.startswith(b"\xff\xd8"):  # JPEG: after the last scan's start comes an end of image
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


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


def to_nchw(pictures: "np.ndarray") -> "np.ndarray":
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), dtype=np.float32) / 255


def to_nhwc(pictures: "np.ndarray") -> "np.ndarray":
    """uint8 [n, h, w, 3] -> float32 [n, h, w, 3] in 0..1."""
    import numpy as np

    return np.ascontiguousarray(pictures, dtype=np.float32) / 255
