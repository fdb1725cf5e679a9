"""Draw a batch of Ultralytics' loader: its images with their labels."""

import shutil
from pathlib import Path
from typing import Any

from buildsys.steps.lib.training import training_files


def draw(batch: dict[str, Any], names: dict[int, str], folder: Path) -> None:
    """Write 01.jpg, … as the network receives them, `img` [n, 3, h, w] of RGB 0..1."""
    from buildsys.steps.lib.images import overlays

    fresh = folder.with_suffix(".tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    shown = batch["img"][: training_files.MOST_EXAMPLES]
    pixels = (shown * 255).round().clamp(0, 255).byte().cpu().numpy()
    for number, image in enumerate(pixels):
        canvas = image.transpose(1, 2, 0)[..., ::-1].copy()
        marks = _marks(batch, number, names, canvas.shape[1], canvas.shape[0])
        overlays.save(fresh / f"{number + 1:02}.jpg", overlays.draw(canvas, marks))
    fresh.rename(folder)


def _marks(
    batch: dict[str, Any], number: int, names: dict[int, str], width: int, height: int
) -> tuple[Any, ...]:
    """Return the labels of one image as marks for `overlays`."""
    from buildsys.steps.lib.images.overlays import Mark

    if "bboxes" not in batch:  # the label is for the whole image
        category = int(batch["cls"][number])
        frame = (0.0, 0.0, float(width), float(height))
        return (Mark(text=names[category], category=category, box=frame),)
    marks = []
    for index in (batch["batch_idx"] == number).nonzero().flatten().tolist():
        category = int(batch["cls"][index])
        x, y, w, h, *turn = batch["bboxes"][index].tolist()
        x, y, w, h = x * width, y * height, w * width, h * height
        points = batch["keypoints"][index].tolist() if "keypoints" in batch else []
        marks.append(
            Mark(
                text=names[category],
                category=category,
                box=(x - w / 2, y - h / 2, x + w / 2, y + h / 2),
                outline=_corners(x, y, w, h, turn[0]) if turn else (),
                keypoints=tuple(
                    (order, point[0] * width, point[1] * height, len(point) < 3 or point[2] > 1)
                    for order, point in enumerate(points)
                    if len(point) < 3 or point[2] > 0
                ),
            )
        )
    return tuple(marks)


def _corners(x: float, y: float, w: float, h: float, turn: float) -> tuple[Any, ...]:
    import numpy as np

    from buildsys.steps.lib.heads.box_corners import corners_of

    (corners,) = corners_of(np.array([[x, y, w, h, turn]]))
    return tuple(tuple(point) for point in corners.tolist())
