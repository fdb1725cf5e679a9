"""Load a COCO-format split for training a YOLOX network.

Annotations, mosaics, flips and colour changes are upstream's; single images are placed in the frame
by the common contract (centred, grey 114), with random scale and shift.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import PAD_GREY
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    import numpy as np

_SHIFT = 0.1
"""Maximum shift of an image as a share of the frame; upstream's `translate`."""
_LEAST_LEFT = 0.2
"""Objects with a smaller share left in the frame are removed."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Augmentation: probabilities of a mosaic and a flip; `scale` 0.3 means 0.7 to 1.3."""

    mosaic: float
    flip: float
    scale: float


def read_classes(root: Path) -> tuple[str, ...]:
    """Return the class names, in the order of their ids."""
    text = (root / "annotations" / "train.json").read_text(encoding="utf-8")
    rows = sorted(json.loads(text)["categories"], key=lambda row: row["id"])
    return tuple(str(row["name"]) for row in rows)


def open_split(root: Path, size: int, changes: Changes, split: str = "train") -> "Samples":
    """Return a split of a tree with annotations/<split>.json and images/. Images are read when they
    are trained on; one that is missing, damaged or of another size than annotated ends the step.
    """
    import contextlib
    import io

    import cv2
    from yolox.data import COCODataset

    class Pictures(COCODataset):  # type: ignore[misc]
        """Upstream's dataset, with messages of ours for unusable images, of any shape."""

        def load_image(self, index: int) -> "np.ndarray":
            _, stated, _, name = self.annotations[index]
            path = root / "images" / name
            if not path.is_file():
                fail(f"the annotations name {name}, which is not in the dataset's images.")
            image = cv2.imread(str(path))  # every decoder gives the pixels of a prepared image
            if image is None:
                fail(f"{name} does not decode, or does not fit into memory.")
            height, width = image.shape[:2]
            if (height, width) != tuple(stated):  # boxes are scaled by the annotated size
                pixels = f"{width} x {height} pixels"
                fail(f"{name} is {pixels}; the annotations say {stated[1]} x {stated[0]}.")
            return image

        def load_resized_img(self, index: int) -> "np.ndarray":
            # upstream's rounds the short side of a long image to 0, and OpenCV refuses that
            image = self.load_image(index)
            height, width = image.shape[:2]
            ratio = min(self.img_size[0] / height, self.img_size[1] / width)
            sides = max(1, int(width * ratio)), max(1, int(height * ratio))
            return cv2.resize(image, sides, interpolation=cv2.INTER_LINEAR)

    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints timings
        pictures = Pictures(str(root), f"{split}.json", name="images", img_size=(size, size))
    if not len(pictures):
        fail(f"the dataset's {split} split has no pictures.")
    return Samples(pictures, size, changes)


class Samples:
    """Images as the network's input: (float32 [3, size, size] BGR 0..255, float32 [most, 5]). An
    object's row is class, cx, cy, w, h in pixels; unused rows are zero.
    """

    def __init__(self, pictures: Any, size: int, changes: Changes) -> None:
        from yolox.data import MosaicDetection, TrainTransform

        most = max(1, *(len(entry[0]) for entry in pictures.annotations))
        self.pictures, self.size, self.changes = pictures, size, changes
        self.mosaic = changes.mosaic
        self.transform = TrainTransform(max_labels=4 * most, flip_prob=changes.flip)
        self.mosaics = MosaicDetection(
            pictures, (size, size), preproc=self.transform, enable_mixup=False
        )

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> "tuple[np.ndarray, np.ndarray]":
        if random.random() < self.mosaic:
            picture, rows = self.mosaics[index][:2]
            return picture, rows
        return self.transform(*self.place(index), (self.size, self.size))  # type: ignore[no-any-return]

    def place(self, index: int) -> "tuple[np.ndarray, np.ndarray]":
        """Return the image in the frame, uint8 [size, size, 3], and its boxes [n, 5] x1 y1 x2 y2
        class.
        """
        import cv2
        import numpy as np

        photo, boxes = self.pictures.load_image(index), self.pictures.load_anno(index).copy()
        height, width = photo.shape[:2]
        fit = self.size / max(height, width)
        factor = fit * random.uniform(1 - self.changes.scale, 1 + self.changes.scale)
        shift = _SHIFT * self.size if self.changes.scale else 0.0
        place = np.array(
            [
                (self.size - side * factor) / 2 + random.uniform(-shift, shift)
                for side in (width, height)
            ]
        )
        # warpAffine uses the centres of pixels, boxes use their corners
        x, y = place + (factor - 1) / 2
        frame = cv2.warpAffine(
            photo,
            np.array([[factor, 0, x], [0, factor, y]]),
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderValue=(PAD_GREY,) * 3,
        )
        moved = boxes.copy()
        moved[:, :4] = boxes[:, :4] / fit * factor + np.tile(place, 2)
        return frame, _cut(moved, self.size)


def _cut(boxes: "np.ndarray", size: int) -> "np.ndarray":
    """Return boxes [n, 5] clipped to the frame, without those of which little is left."""
    import numpy as np

    inside = boxes.copy()
    inside[:, :4] = boxes[:, :4].clip(0, size)
    areas = [np.prod(found[:, 2:4] - found[:, :2], axis=1) for found in (inside, boxes)]
    return np.asarray(inside[areas[0] > _LEAST_LEFT * np.maximum(areas[1], 1e-9)])
