"""Generate the dataset `fiducials`: QR and ArUco tags in perspective on images, with exact labels.

Every image depends only on (seed, split, index): the same seed gives the same bytes, and more
images never change the earlier ones. Backgrounds are crops of the photographs that scikit-image
ships; train and val draw from disjoint sets of photographs and from disjoint random streams.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from buildsys.spec import BoardSpec, ExpectedFacts, Format, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.runtime.progress import report

if TYPE_CHECKING:
    import numpy as np


# Photographs of scikit-image, without motorcycle_* and lfw_*, whose licence terms are unclear.
_BACKGROUNDS = {
    "train": (
        "astronaut.png",
        "brick.png",
        "camera.png",
        "chelsea.png",
        "clock_motion.png",
        "coins.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "page.png",
    ),
    "val": ("coffee.png", "gravel.png", "rocket.jpg", "retina.jpg", "text.png"),
}
_SPLIT_STREAM = {"train": 1, "val": 2}
_SUPERSAMPLING = 3
_MAX_TURN_DEGREES = 40.0  # on a small tag that is rotated further, the corners cannot be told apart
_MAX_TAGS = 3
_TURNED = 1.41
"""Side of the square around a tag that is turned by 40 degrees, as a share of its side."""
_MARGIN = 0.12
"""Distance of a tag from the image's edge, as a share of its side: room for the quiet zone."""
_LEAST_BLUR = 0.3
"""A smaller sigma, in pixels, changes nothing visible."""
_EMPTY_SHARE = 0.04
_JPEG_QUALITY = 93
_KEYPOINT_SIGMA = (
    0.05  # Ultralytics' default for 4 keypoints, 1/4, would accept almost any position
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `dataset` block with `generator: fiducials`."""

    train: int = 400
    val: int = 300
    size: int = 192
    min_side: float = 16.0
    max_side: float = 96.0
    sides: Literal["log-uniform", "uniform"] = "log-uniform"
    blur: float = 0.9
    noise: float = 6.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that images can be drawn with these settings."""
        if self.train < 1 or self.val < 1:
            raise ValueError("`train` and `val` are at least 1; each split needs a picture")
        if not 4 <= self.min_side <= self.max_side <= self.size:
            raise ValueError("tags are 4 pixels or more: min_side <= max_side <= size")
        if (_TURNED + 2 * _MARGIN) * self.min_side + 2 > self.size:
            raise ValueError(
                f"a turned tag of {self.min_side:g} pixels (`min_side`) with its margin has no room"
                f" in an image of {self.size}; `size` must be at least 1.65 times `min_side` plus 2"
            )
        if not 0 <= self.blur <= self.size:
            raise ValueError(f"`blur` must be from 0 (none) to `size`, not {self.blur:g}")
        if not 0 <= self.noise <= 255:
            raise ValueError(f"`noise` must be from 0 to 255, not {self.noise:g}")
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, not {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Numbers of images, the sides of images and tags in pixels, and what to label.

    `blur`: largest defocus, sigma in pixels; `noise`: largest sensor noise, sigma of 255.
    """

    train: int
    val: int
    size: int
    min_side: float
    max_side: float
    sides: str
    blur: float
    noise: float
    seed: int
    task: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; images are the same for every task, only labels differ."""
    return Params(task=model.task or "detect", **vars(settings))


def facts(task: str) -> ExpectedFacts:
    """Return the facts about the data that hold before it exists."""
    splits = tuple((name, (f"images/{name}",)) for name in _SPLIT_STREAM)
    if task == "pose":
        sigmas = (_KEYPOINT_SIGMA,) * 4
        return ExpectedFacts(
            names=("tag",),
            keypoints=4,
            keypoint_dims=3,
            sigmas=sigmas,
            splits=splits,
            flip=(1, 0, 3, 2),
        )
    return ExpectedFacts(names=("qr", "aruco"), splits=splits)


STEP = StepSpec(
    tool_env="fiducials",
    produces=Format.DATASET,
    block="dataset",
    tasks=("detect", "segment", "pose", "obb"),
    facts=facts,
    resources=Resources(threads=2),
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write data.yaml, images/<split>/*.jpg and labels/<split>/*.txt (Ultralytics' layout)."""
    import cv2

    from buildsys.steps.lib.runtime import ahead

    cv2.setNumThreads(1)
    root = outputs["dataset"]
    processes = int(os.environ.get("OMP_NUM_THREADS", "1"))
    total, done = params.train + params.val, 0
    for split, count in (("train", params.train), ("val", params.val)):
        backgrounds = _load_backgrounds(split)
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        write = partial(_write, root, params, split, backgrounds)
        for _ in ahead.in_order(write, range(count), processes):
            done += 1
            report(done, total, "pictures")
    (root / "data.yaml").write_text(_data_yaml(params.task))


def _write(
    root: Path, params: Params, split: str, backgrounds: "list[np.ndarray]", index: int
) -> None:
    """Write one image and its labels."""
    import cv2

    from buildsys.steps.lib.images import image_files

    picture, tags = _draw_picture(params, split, index, backgrounds)
    stem = f"{index:05d}"
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    image_files.write(root / "images" / split / f"{stem}.jpg", picture, quality)
    lines = [_label_line(params, kind, corners) for kind, corners in tags]
    (root / "labels" / split / f"{stem}.txt").write_text("".join(lines))


def _data_yaml(task: str) -> str:
    known = facts(task)
    lines = [f"{name}: {places[0]}" for name, places in known.splits]
    lines += ["names:", *(f"  {index}: {name}" for index, name in enumerate(known.names))]
    if known.keypoints:
        lines += ["kpt_shape: [4, 3]", f"flip_idx: {list(known.flip)}"]
        lines += [f"kpt_oks_sigmas: {list(known.sigmas)}"]
    return "\n".join(lines) + "\n"


def _load_backgrounds(split: str) -> "list[np.ndarray]":
    import cv2
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [cv2.imread(str(folder / name), cv2.IMREAD_COLOR) for name in _BACKGROUNDS[split]]


def _draw_picture(
    params: Params, split: str, index: int, backgrounds: "list[np.ndarray]"
) -> "tuple[np.ndarray, list[tuple[int, np.ndarray]]]":
    """Return one image, uint8 [size, size, 3] BGR, and its tags as (kind, corners float64 [4, 2])."""
    import cv2
    import numpy as np

    rng = np.random.default_rng([params.seed, _SPLIT_STREAM[split], index])
    big = params.size * _SUPERSAMPLING
    canvas = _crop_background(rng, backgrounds, big)
    tags: list[tuple[int, np.ndarray]] = []
    wanted = 0 if rng.random() < _EMPTY_SHARE else int(rng.integers(1, _MAX_TAGS + 1))
    for _ in range(wanted * 8):
        if len(tags) == wanted:
            break
        corners = _place_tag(rng, params)
        if corners is None or any(_boxes_touch(corners, other) for _, other in tags):
            continue
        kind = int(rng.integers(0, 2))
        canvas = _paste_tag(rng, canvas, _render_tag(rng, kind), corners * _SUPERSAMPLING)
        tags.append((kind, corners))
    picture = cv2.resize(canvas, (params.size, params.size), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5 and params.blur >= _LEAST_BLUR:
        picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(_LEAST_BLUR, params.blur)))
    gain, shift = rng.uniform(0.7, 1.2), rng.uniform(-25, 25)
    noise = rng.normal(0.0, rng.uniform(0.0, params.noise), picture.shape)
    return np.clip(picture * gain + shift + noise, 0, 255).astype(np.uint8), tags


def _crop_background(
    rng: "np.random.Generator", backgrounds: "list[np.ndarray]", side: int
) -> "np.ndarray":
    """Return a random square of a random photograph, possibly mirrored and rotated, uint8 [side,
    side, 3].
    """
    import cv2
    import numpy as np

    photo = backgrounds[int(rng.integers(len(backgrounds)))]
    extent = min(photo.shape[:2])
    cut = int(rng.integers(max(48, extent // 4), extent + 1))
    top = int(rng.integers(0, photo.shape[0] - cut + 1))
    left = int(rng.integers(0, photo.shape[1] - cut + 1))
    crop = np.rot90(photo[top : top + cut, left : left + cut], int(rng.integers(4)))
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    tint = rng.uniform(0.6, 1.2, 3)
    crop = cv2.resize(np.ascontiguousarray(crop), (side, side), interpolation=cv2.INTER_LINEAR)
    values = np.clip(np.arange(256)[:, None] * tint, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(crop, values[None]))


def _place_tag(rng: "np.random.Generator", params: Params) -> "np.ndarray | None":
    """Return the corners of a tag (top left, top right, bottom right, bottom left) in pixels, or
    None.
    """
    import numpy as np

    low, high = params.min_side, params.max_side
    if params.sides == "uniform":
        side = float(rng.uniform(low, high))
    else:  # log-uniform: small and large tags are equally frequent
        side = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    turn = np.deg2rad(rng.uniform(-_MAX_TURN_DEGREES, _MAX_TURN_DEGREES))
    square = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    sides = np.maximum(side * rng.uniform(0.8, 1.0, 2), params.min_side)  # foreshortened
    tilted = square * sides
    tilted = tilted + rng.uniform(-0.08, 0.08, (4, 2)) * side
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    corners = tilted @ rotation
    margin = _MARGIN * side + 1
    first, last = margin - corners.min(0), params.size - margin - corners.max(0)
    if (last <= first).any():
        return None
    return np.asarray(corners + rng.uniform(first, last))


def _boxes_touch(a: "np.ndarray", b: "np.ndarray") -> bool:
    gap = 6.0
    apart = (a.max(0) + gap < b.min(0)) | (b.max(0) + gap < a.min(0))
    return not bool(apart.any())


def _render_tag(rng: "np.random.Generator", kind: int) -> "np.ndarray":
    """Return a tag without quiet zone, uint8 [n, n], one or more pixels per module."""
    import cv2
    import numpy as np

    if kind == 0:
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
        text = "".join(letters[i] for i in rng.integers(0, len(letters), int(rng.integers(4, 17))))
        code = cv2.QRCodeEncoder.create().encode(text)
        dark = np.argwhere(code < 128)
        (top, left), (bottom, right) = dark.min(0), dark.max(0) + 1
        return np.asarray(code[top:bottom, left:right])
    modules, name = ((6, "DICT_4X4_50"), (7, "DICT_5X5_50"), (8, "DICT_6X6_50"))[rng.integers(3)]
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    return np.asarray(cv2.aruco.generateImageMarker(dictionary, int(rng.integers(50)), modules))


def _paste_tag(
    rng: "np.random.Generator", canvas: "np.ndarray", tag: "np.ndarray", corners: "np.ndarray"
) -> "np.ndarray":
    """Draw the tag with its quiet zone onto the canvas, lit from one side."""
    import cv2
    import numpy as np

    scale = max(1, 240 // tag.shape[0])
    printed = cv2.resize(tag, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    inner, border = printed.shape[0], int(0.1 * printed.shape[0])
    printed = cv2.copyMakeBorder(
        printed, border, border, border, border, cv2.BORDER_CONSTANT, value=255
    )
    source = np.array([[0, 0], [inner, 0], [inner, inner], [0, inner]], np.float32) + border
    matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
    size = (canvas.shape[1], canvas.shape[0])
    ink, paper = rng.uniform(0, 60), rng.uniform(150, 255)
    light = np.linspace(rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0), printed.shape[1])
    shaded = (ink + (paper - ink) * (printed / 255.0)) * light[None, :]
    warped = cv2.warpPerspective(shaded.astype(np.float32), matrix, size, flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.ones_like(shaded, np.float32), matrix, size)
    colour = rng.uniform(0.85, 1.0, 3)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return canvas
    here = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))  # elsewhere it stays
    share = mask[here][..., None]
    blended = canvas[here] * (1 - share) + warped[here][..., None] * colour * share
    canvas[here] = np.clip(blended, 0, 255).astype(np.uint8)
    return canvas


def _label_line(params: Params, kind: int, corners: "np.ndarray") -> str:
    """Return one row of an Ultralytics label file: class, box centre and size, corners; all in
    0..1.

    For masks and oriented boxes only the corners: a tag in perspective is its own outline.
    """
    if params.task in ("segment", "obb"):
        return " ".join([str(kind), *(f"{v:.6f}" for v in (corners / params.size).ravel())]) + "\n"
    low, high = corners.min(0) / params.size, corners.max(0) / params.size
    box = [*((low + high) / 2), *(high - low)]
    values = [f"{value:.6f}" for value in box]
    if params.task == "pose":
        for x, y in corners / params.size:
            values += [f"{x:.6f}", f"{y:.6f}", "2"]
    return " ".join([str(0 if params.task == "pose" else kind), *values]) + "\n"
