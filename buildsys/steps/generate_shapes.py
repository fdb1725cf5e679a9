"""Generate the dataset `shapes`: bars and ellipses at any angle on a plain background, with exact
labels for every task.

The smallest data from which a network for boxes, masks, oriented boxes or classes learns something.
Every image depends only on (seed, split, index): the same seed gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import BoardSpec, ExpectedFacts, Format, ModelSpec, StepSpec
from buildsys.steps.lib.runtime.progress import report

if TYPE_CHECKING:
    import numpy as np


_NAMES = ("bar", "egg")
_SPLIT_STREAM = {"train": 1, "val": 2}
_GROUNDS = ((40, 40, 40), (90, 60, 50), (60, 100, 70), (120, 120, 120))
_PAINTS = ((230, 230, 230), (40, 200, 240), (240, 120, 60), (90, 90, 250))
_SIDES = (0.22, 0.43)
"""Range of the longer side, as a share of the image's side."""
_FLATNESS = (0.4, 0.6)
"""Range of shorter side / longer side: far enough from 1 that the angle is visible."""
_EGG_POINTS = 24
_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws with."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `dataset` block with `generator: shapes`: numbers of images, and their side in pixels."""

    train: int = 64
    val: int = 32
    size: int = 96
    most: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that images can be drawn with these settings."""
        if self.train < 1 or self.val < 1:
            raise ValueError("`train` and `val` are at least 1; each split needs a picture")
        if self.size < 32 or self.most < 1:
            raise ValueError("`size` is at least 32, `most` shapes in a picture at least 1")
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, not {self.seed}")


@dataclass(frozen=True, kw_only=True)
class Params:
    """Numbers of images, their side in pixels, the maximum of shapes per image, and what to label."""

    train: int
    val: int
    size: int
    most: int
    seed: int
    task: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; images are the same for every task except classify, which has one
    shape per image.
    """
    return Params(task=model.task or "detect", **vars(settings))


def facts(task: str) -> ExpectedFacts:
    """Return the facts about the data that hold before it exists."""
    folder = "" if task == "classify" else "images/"
    splits = tuple((name, (f"{folder}{name}",)) for name in _SPLIT_STREAM)
    return ExpectedFacts(names=_NAMES, splits=splits)


STEP = StepSpec(
    tool_env="fiducials",
    produces=Format.DATASET,
    block="dataset",
    tasks=("detect", "segment", "classify", "obb"),
    facts=facts,
)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write Ultralytics' layout: <split>/<class>/*.png for classify, otherwise images, labels,
    data.yaml.
    """
    import cv2

    cv2.setNumThreads(1)
    root = outputs["dataset"]
    total, done = params.train + params.val, 0
    for split, count in (("train", params.train), ("val", params.val)):
        for index in range(count):
            picture, shapes = _draw_picture(params, split, index)
            _write(root, split, f"{index:05d}", params, picture, shapes)
            done += 1
            report(done, total, "pictures")
    if params.task != "classify":
        known = facts(params.task)
        lines = [f"{name}: {places[0]}" for name, places in known.splits]
        lines += ["names:", *(f"  {index}: {name}" for index, name in enumerate(known.names))]
        (root / "data.yaml").write_text("\n".join(lines) + "\n")


def _write(
    root: Path,
    split: str,
    stem: str,
    params: Params,
    picture: "np.ndarray",
    shapes: "list[tuple[int, np.ndarray, np.ndarray]]",
) -> None:
    from buildsys.steps.lib.images import image_files

    inside = f"{split}/{_NAMES[shapes[0][0]]}" if params.task == "classify" else f"images/{split}"
    (root / inside).mkdir(parents=True, exist_ok=True)
    image_files.write(root / inside / f"{stem}.png", picture)
    if params.task == "classify":
        return
    (root / "labels" / split).mkdir(parents=True, exist_ok=True)
    lines = [_label_line(params, *shape) for shape in shapes]
    (root / "labels" / split / f"{stem}.txt").write_text("".join(lines))


def _draw_picture(
    params: Params, split: str, index: int
) -> "tuple[np.ndarray, list[tuple[int, np.ndarray, np.ndarray]]]":
    """Return an image uint8 [size, size, 3] BGR, and its shapes as (kind, outline [n, 2], corners
    [4, 2]); float64, in pixels.
    """
    import cv2
    import numpy as np

    rng = np.random.default_rng([params.seed, _SPLIT_STREAM[split], index])
    picture = np.full((params.size, params.size, 3), _GROUNDS[rng.integers(4)], np.uint8)
    shapes: list[tuple[int, np.ndarray, np.ndarray]] = []
    wanted = 1 if params.task == "classify" else int(rng.integers(1, params.most + 1))
    for _ in range(wanted * 8):
        if len(shapes) == wanted:
            break
        kind, paint = int(rng.integers(2)), _PAINTS[rng.integers(4)]
        outline, corners = _place(rng, kind, params.size)
        if any(_touch(corners, other) for *_, other in shapes):
            continue
        points = np.rint(outline * (1 << _SHIFT)).astype(np.int32)
        cv2.fillPoly(picture, [points], paint, cv2.LINE_AA, _SHIFT)
        shapes.append((kind, outline, corners))
    noise = rng.integers(-6, 7, picture.shape)
    return np.clip(picture.astype(np.int64) + noise, 0, 255).astype(np.uint8), shapes


def _place(rng: "np.random.Generator", kind: int, size: int) -> "tuple[np.ndarray, np.ndarray]":
    """Return outline and corners of a shape that lies inside the image."""
    import numpy as np

    long = float(rng.uniform(*_SIDES)) * size / 2
    short = long * float(rng.uniform(*_FLATNESS))
    turn = float(rng.uniform(0, np.pi))
    across = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    angles = np.arange(_EGG_POINTS) * 2 * np.pi / _EGG_POINTS
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    corners = (square * [long, short]) @ across
    outline = corners if kind == 0 else (circle * [long, short]) @ across
    reach = np.abs(corners).max(0) + 1
    centre = rng.uniform(reach, size - reach)
    return outline + centre, corners + centre


def _touch(a: "np.ndarray", b: "np.ndarray") -> bool:
    return not bool(((a.max(0) + 2 < b.min(0)) | (b.max(0) + 2 < a.min(0))).any())


def _label_line(params: Params, kind: int, outline: "np.ndarray", corners: "np.ndarray") -> str:
    """Return one row of an Ultralytics label file; everything but the class is in 0..1."""
    points = corners if params.task == "obb" else outline
    shares = points / params.size
    if params.task == "detect":
        low, high = shares.min(0), shares.max(0)
        shares = [(low + high) / 2, high - low]
    values = [f"{value:.6f}" for point in shares for value in point]
    return " ".join([str(kind), *values]) + "\n"
