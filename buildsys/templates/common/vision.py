"""Prepare images for a network, and decode its outputs to detections.

Uses NumPy; Pillow scales images for classify. The arithmetic is that of the build's accuracy
measurement: scaling, padding, suppression and conversion back as in Ultralytics' `predict`. Python
3.8 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:  # not available in Python 3.8 at run time
    from collections.abc import Sequence

    Outputs = dict[str, np.ndarray]
    """Real values by the output's name, with the batch axis."""
    Decoded = tuple[np.ndarray, np.ndarray, np.ndarray]
    """In the frame's pixels: boxes [N, 4] x1 y1 x2 y2; scores [N, classes]; keypoints [N, k, 3]."""

STRIDES = (8, 16, 32)
"""Strides of YOLOX's cells; the output names of YOLOv8's raw head contain its strides."""
BINS = 16
"""Bins of a box side's distribution in YOLOv8's head."""
BRANCH = "-one-to-one"
"""Ending of heads that report an object in one cell and need no suppression."""
GREY = 114
MOST_CANDIDATES, MOST_DETECTIONS = 30_000, 300
TOP = 5  # reported classes of a whole image


class Placed(NamedTuple):
    """An image in the network's frame, uint8 [height, width, 3] RGB, and its placement: an original of
    `photo` = (width, height) pixels, scaled by `gains` along x and y, its corner at (left, top) in
    pixels, negative if it was cropped.
    """

    pixels: np.ndarray
    photo: tuple[int, int]
    gains: tuple[float, float]
    left: int
    top: int


class Found(NamedTuple):
    """One detection in pixels of the image: box x1, y1, x2, y2; keypoints x, y, visibility 0..1.
    Without a box: a class of the whole image. `corners`: x, y of an oriented box, whose `box` is the
    enclosing axis-aligned one; `mask`: bool [h, w] of the image.
    """

    category: int
    score: float
    box: tuple[float, ...] = ()
    keypoints: tuple[tuple[float, ...], ...] = ()
    corners: tuple[tuple[float, ...], ...] = ()
    mask: Any = None


def place(photo: np.ndarray, height: int, width: int, resize: str) -> Placed:
    """Place an image, uint8 [h, w, 3] RGB, in the frame: letterboxed, or cropped for `center-crop`."""
    h, w = photo.shape[:2]
    if resize == "center-crop":
        # scale until the frame is full; the longer side is rounded down
        fills = height * w >= width * h
        size = (height, height * w // h) if fills else (width * h // w, width)
        photo = shrink(photo, *size)
        top, left = round((photo.shape[0] - height) / 2), round((photo.shape[1] - width) / 2)
        frame, left, top = photo[top : top + height, left : left + width], -left, -top
    else:
        scale = min(height / h, width / w)
        photo = scale_to(photo, max(round(h * scale), 1), max(round(w * scale), 1))
        left = round((width - photo.shape[1]) / 2 - 0.1)
        top = round((height - photo.shape[0]) / 2 - 0.1)
        frame = np.full((height, width, 3), GREY, np.uint8)
        frame[top : top + photo.shape[0], left : left + photo.shape[1]] = photo
    return Placed(frame, (w, h), (photo.shape[1] / w, photo.shape[0] / h), left, top)


def shrink(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale with Pillow's bilinear filter, which averages over everything that a new pixel covers."""
    from PIL import Image

    if photo.shape[:2] == (height, width):
        return photo
    picture = Image.fromarray(np.ascontiguousarray(photo))
    return np.asarray(picture.resize((width, height), Image.BILINEAR))


def scale_to(photo: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale bilinearly between pixel centres without a filter: bit-exact with cv2.INTER_LINEAR, whose
    weights are multiples of 1/2048 and whose sums drop their last bits. `shrink` differs.
    """
    if photo.shape[:2] == (height, width):
        return photo
    above, below, down = _neighbours(photo.shape[0], height)
    before, behind, along = _neighbours(photo.shape[1], width)
    (upper, lower), (first, second) = (
        [np.rint(part * np.float32(2048)).astype(np.int32) for part in (1 - share, share)]
        for share in (down, along)
    )
    values = photo.astype(np.int32)
    rows = values[:, before] * first[:, None] + values[:, behind] * second[:, None]
    upper, lower = (
        upper[:, None, None] * (rows[above] >> 4),
        lower[:, None, None] * (rows[below] >> 4),
    )
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).astype(np.uint8)


def stretch(
    values: np.ndarray,
    height: int,
    width: int,
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> np.ndarray:
    """Scale real values [h, w, channels] to float32 [height, width, channels], like `scale_to`, or
    compute only some `rows` and `columns` of that.
    """
    above, below, down = (part[rows] for part in _neighbours(values.shape[0], height))
    before, behind, along = (part[columns] for part in _neighbours(values.shape[1], width))
    down, along = down[:, None, None], along[None, :, None]
    lines = values[above] * (1 - down) + values[below] * down
    return lines[:, before] * (1 - along) + lines[:, behind] * along


def _neighbours(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new pixel the two neighbouring old ones, and the share of the second."""
    places = ((np.arange(wanted) + 0.5) * (size / wanted) - 0.5).astype(np.float32)
    first = np.floor(places).astype(int)
    share = places - first.astype(np.float32)
    return np.clip(first, 0, size - 1), np.clip(first + 1, 0, size - 1), share


def decode(outputs: Outputs, model: dict[str, Any], height: int, width: int) -> Decoded:
    """Return every cell's box, scores and keypoints, according to the head in model.json."""
    head, values = layout(model), {k: v.astype(np.float64) for k, v in outputs.items()}
    if head in ("raw", "yolo26-raw"):
        return _decode_raw(values, model["keypoint_dims"], height, width, head == "raw")
    if head.startswith("yolox-"):
        return _decode_yolox(values, head, height, width)
    if head == "split":
        rows = np.concatenate([values["boxes"][0].T, values["scores"][0]], 1)
    else:
        rows = values["detections"][0].T
    if head in ("split", "normalized"):
        rows[:, :4] *= (width, height, width, height)
    classes, points = len(model["classes"]), model["keypoints"]
    more = rows[:, 4 + classes :] if points else rows[:, :0]
    keypoints = more.reshape(len(rows), points, -1) if points else np.zeros((len(rows), 0, 3))
    if head == "normalized":
        keypoints[..., :2] *= (width, height)
    if keypoints.shape[-1] == 2:
        keypoints = np.concatenate([keypoints, np.ones_like(keypoints[..., :1])], -1)
    return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4 : 4 + classes], keypoints


def layout(model: dict[str, Any]) -> str:
    """Return the head without its branch."""
    head: str = model["head"]
    return head[: -len(BRANCH)] if is_one_to_one(model) else head


def is_one_to_one(model: dict[str, Any]) -> bool:
    """Return whether no suppression is needed."""
    return bool(model["head"].endswith(BRANCH))


def _decode_raw(values: Outputs, dims: int, height: int, width: int, binned: bool) -> Decoded:
    """Decode the raw head: each side of a box is a length, in strides, from the cell's centre, in
    YOLOv8 (`binned`) as a distribution over lengths; scores are logits.
    """
    grids = grids_of(values)
    corners, strides = cells(height, width, grids)
    centres = corners + 0.5
    sides = np.concatenate([values[f"box_s{stride}"][0] for stride in grids])
    if binned:
        bins = sides.reshape(-1, 4, BINS)
        bins = np.exp(bins - bins.max(-1, keepdims=True))
        sides = (bins / bins.sum(-1, keepdims=True)) @ np.arange(BINS)
    boxes = np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], 1) * strides
    scores = sigmoid(np.concatenate([values[f"cls_s{stride}"][0] for stride in grids]))
    keypoints = np.zeros((len(boxes), 0, 3))
    if "keypoints" in values:
        raw = values["keypoints"][0].reshape(len(boxes), -1, dims)
        places = raw[..., :2] * 2 + corners[:, None] if binned else raw[..., :2] + centres[:, None]
        places = places * strides[:, None]
        seen = sigmoid(raw[..., 2:]) if dims == 3 else np.ones_like(raw[..., :1])
        keypoints = np.concatenate([places, seen], -1)
    return boxes, scores, keypoints


def grids_of(values: Outputs) -> list[int]:
    """Return the strides of a raw head's cells from its output names: box_s8, box_s16, and so on."""
    return sorted(int(name[len("box_s") :]) for name in values if name.startswith("box_s"))


def _decode_yolox(values: Outputs, head: str, height: int, width: int) -> Decoded:
    """Decode a YOLOX head: a box is an offset from the cell's corner and the logarithm of a size, both
    in strides, unless the network has decoded it; a score is objectness times class probability.
    """
    if head == "yolox-split":
        boxes, objectness, classes = (values[k][0] for k in ("boxes", "objectness", "classes"))
    else:
        rows = values["detections" if head == "yolox-decoded" else "predictions"][0]
        boxes, objectness, classes = rows[:, :4], rows[:, 4:5], rows[:, 5:]
    centre, size = boxes[:, :2], boxes[:, 2:]
    if head != "yolox-decoded":
        corners, strides = cells(height, width, STRIDES)
        centre, size = (centre + corners) * strides, np.exp(size) * strides
    return _corners(centre, size), objectness * classes, np.zeros((len(boxes), 0, 3))


def _corners(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


def cells(height: int, width: int, grids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper left corner [N, 2] x, y of every cell in strides, and strides [N, 1]."""
    corners, strides = [], []
    for stride in grids:
        y, x = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((x.size, 1), float(stride)))
    return np.concatenate(corners).astype(np.float64), np.concatenate(strides)


def choose(
    decoded: Decoded, placed: Placed, confidence: float, iou: float, one_to_one: bool = False
) -> list[Found]:
    """Return detections above `confidence`, best first, in the image's pixels; see BRANCH."""
    boxes, scores, keypoints = decoded
    rows, classes = select(scores, confidence)
    found = []
    for index in keep(boxes[rows], classes, iou, one_to_one):
        row, category = rows[index], int(classes[index])
        box = to_photo(boxes[row].reshape(-1, 2), placed).ravel().tolist()
        points = np.concatenate([to_photo(keypoints[row, :, :2], placed), keypoints[row, :, 2:]], 1)
        score = float(scores[row, category])
        found.append(Found(category, score, tuple(box), tuple(map(tuple, points.tolist()))))
    return found


def select(scores: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells above `confidence` and the best class of each, best first, before suppression."""
    best = scores.argmax(1)
    values = scores[np.arange(len(scores)), best]
    rows = np.flatnonzero(values > confidence)
    rows = rows[np.argsort(-values[rows], kind="stable")[:MOST_CANDIDATES]]
    return rows, best[rows]


def keep(boxes: np.ndarray, classes: np.ndarray, iou: float, one_to_one: bool) -> Sequence[int]:
    """Return which of the boxes, best first, are objects: for a one-to-one branch all, up to a limit."""
    if one_to_one:
        return range(min(len(boxes), MOST_DETECTIONS))
    return suppress(boxes, classes, iou)


def suppress(boxes: np.ndarray, classes: np.ndarray, iou: float) -> list[int]:
    """Return the boxes, sorted best first, that no better one of their class overlaps by more."""
    areas, alive = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.ones(len(boxes), bool)
    kept: list[int] = []
    for best in range(len(boxes)):
        if alive[best] and len(kept) < MOST_DETECTIONS:
            kept.append(best)
            low = np.maximum(boxes[best, :2], boxes[:, :2])
            high = np.minimum(boxes[best, 2:], boxes[:, 2:])
            common = np.clip(high - low, 0, None).prod(1)
            overlaps = common > iou * (areas[best] + areas - common)
            alive &= ~(overlaps & (classes == classes[best]))
    return kept


def to_photo(places: np.ndarray, placed: Placed) -> np.ndarray:
    """Convert positions [n, 2] of the frame to pixels of the image, clipped to its border."""
    return np.clip((places - (placed.left, placed.top)) / placed.gains, 0, placed.photo)


def classify(outputs: Outputs, head: str, confidence: float) -> list[Found]:
    """Return at most five classes of the whole image with at least this confidence, best first."""
    values = outputs["logits" if head == "raw" else "probabilities"][0].astype(np.float64)
    if head == "raw":
        powers = np.exp(values - values.max())
        values = powers / powers.sum()
    order = np.argsort(-values, kind="stable")[:TOP]
    return [Found(int(i), float(values[i])) for i in order if values[i] >= confidence]


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Return the logistic function of the values."""
    return 1 / (1 + np.exp(-values))
