"""What a model file sees on photographs: detections in their own pixels, and drawn on them.

Preprocessing, decoding and suppression are those that accuracy is measured with.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.steps import _accuracy
from buildsys.steps._progress import report

if TYPE_CHECKING:
    import numpy as np

_SEEN = 0.5
"""Visibility above which a keypoint is drawn as seen."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A photograph among the inputs, and the name of its drawing."""

    path: str
    drawing: str


@dataclass(frozen=True, kw_only=True)
class Params:
    """Which pictures; detections below `confidence` are left out.

    `reading`: how evaluation reads this network; its split is of no use here.
    """

    pictures: tuple[Picture, ...]
    confidence: float
    reading: _accuracy.Params


Run = Callable[["np.ndarray"], "dict[str, np.ndarray]"]
"""Picture uint8 [h, w, 3] -> outputs by name."""


def predict(model: Path, pictures: Path, run: Run, params: Params, target: Path) -> None:
    """Write <drawing>.jpg per readable picture, and predictions.json; what cannot be read is told
    there and stops nothing.
    """
    from buildsys.steps import _drawing, _photo

    target.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    for done, picture in enumerate(params.pictures, 1):
        photo = _photo.read(pictures / picture.path)
        if photo.image is None:
            unreadable.append({"picture": picture.path, "problem": photo.problem})
        else:
            objects = detect(photo.image, run, params.reading, params.confidence)
            marks = tuple(mark(item) for item in objects)
            _drawing.save(target / picture.drawing, _drawing.draw(photo.image, marks))
            rows.append(_row(picture, photo.image, objects, params))
        report(done, len(params.pictures), "pictures")
    found = {
        "model": {"sha256": hashlib.sha256(model.read_bytes()).hexdigest()},
        "confidence": params.confidence,
        "pictures": rows,
        "unreadable": unreadable,
    }
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (target / "predictions.json").write_text(text, encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One detection in the photograph's pixels: box x1 y1 x2 y2, keypoints x, y, visibility 0..1."""

    name: str
    category: int
    score: float
    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float, float], ...]


def detect(
    photo: "np.ndarray", run: Run, reading: _accuracy.Params, confidence: float
) -> tuple[Seen, ...]:
    """What a network sees on a photograph, uint8 [h, w, 3] BGR, best first."""
    import numpy as np

    from buildsys.steps import _decode, _pictures

    picture, scale, pad = _pictures.letterbox(photo, reading.preprocessing)
    found = _decode.suppress(*_accuracy.decode(run(picture), reading))
    shift = np.array(pad, np.float64)
    boxes = (found.boxes - np.tile(shift, 2)) / scale
    points = found.keypoints.copy()
    points[..., :2] = (points[..., :2] - shift) / scale
    return tuple(
        Seen(
            name=reading.classes[int(found.classes[i])],
            category=int(found.classes[i]),
            score=float(found.scores[i]),
            box=tuple(boxes[i].tolist()),
            keypoints=tuple(tuple(point) for point in points[i].tolist()),
        )
        for i in np.flatnonzero(found.scores >= confidence)
    )


def mark(item: Seen) -> Any:
    """A detection as `_drawing` draws it."""
    from buildsys.steps import _drawing

    return _drawing.Mark(
        text=f"{item.name} {item.score:.2f}",
        category=item.category,
        box=item.box,
        keypoints=tuple((i, x, y, v > _SEEN) for i, (x, y, v) in enumerate(item.keypoints)),
    )


def _row(
    picture: Picture, photo: "np.ndarray", objects: tuple[Seen, ...], params: Params
) -> dict[str, Any]:
    """Pixels to a hundredth, scores to a ten-thousandth."""
    entries = []
    for item in objects:
        entry: dict[str, Any] = {
            "class": item.name,
            "score": round(item.score, 4),
            "box": [round(value, 2) for value in item.box],
        }
        if params.reading.keypoints:
            entry["keypoints"] = [
                [round(x, 2), round(y, 2), round(v, 4)] for x, y, v in item.keypoints
            ]
        entries.append(entry)
    return {
        "picture": picture.path,
        "drawing": picture.drawing,
        "width": photo.shape[1],
        "height": photo.shape[0],
        "objects": entries,
    }
