"""Run a model file on images: detections in the original images' pixels, and drawings of them.

Preprocessing, decoding and suppression are the same as for measuring accuracy.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.heads.placement import Placement, to_photo, turned_to_photo
from buildsys.steps.lib.metrics import accuracy
from buildsys.steps.lib.runtime.progress import report

if TYPE_CHECKING:
    import numpy as np

_SEEN = 0.5
"""Visibility above which a keypoint is drawn as visible."""
_CLASSES = 5
"""Number of listed classes for a whole image."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image of the inputs, and the name of its drawing."""

    path: str
    drawing: str


@dataclass(frozen=True, kw_only=True)
class Params:
    """Which images to use. Detections whose score is not above `confidence` are omitted, as in
    Ultralytics, and classes of a whole image below it. `reading`: how evaluation reads this
    network; its split is not used.
    """

    pictures: tuple[Picture, ...]
    confidence: float
    reading: accuracy.Params


Run = Callable[["np.ndarray"], "dict[str, np.ndarray]"]
"""A function: image uint8 [h, w, 3] -> outputs by name."""


def predict(model: Path, pictures: Path, run: Run, params: Params, target: Path) -> None:
    """Write <drawing>.jpg per readable image, and predictions.json, which also lists unreadable
    images.
    """
    from buildsys.steps.lib.images import decoding, overlays

    target.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    for done, picture in enumerate(params.pictures, 1):
        photo = decoding.read(pictures / picture.path)
        if photo.image is None:
            unreadable.append({"picture": picture.path, "problem": photo.problem})
        else:
            objects = detect(photo.image, run, params.reading, params.confidence)
            marks = tuple(mark(item) for item in objects)
            overlays.save(target / picture.drawing, overlays.draw(photo.image, marks))
            rows.append(_row(picture, photo.image, objects, params))
        report(done, len(params.pictures), "images")
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
    """One detection in pixels of the original image: box x1 y1 x2 y2, keypoints x, y, visibility
    0..1. `outline`: x, y of the outline of a mask, or of an oriented box's corners. `whole`: a
    class of the whole image, without a position.
    """

    name: str
    category: int
    score: float
    box: tuple[float, float, float, float]
    keypoints: tuple[tuple[float, float, float], ...] = ()
    outline: tuple[tuple[float, float], ...] = ()
    whole: bool = False


def detect(
    photo: "np.ndarray", run: Run, reading: accuracy.Params, confidence: float
) -> tuple[Seen, ...]:
    """Return a network's detections on an image, uint8 [h, w, 3] BGR, best first."""
    from buildsys.steps.lib.images import prepared_images

    params = Params(pictures=(), confidence=confidence, reading=reading)
    picture, place = prepared_images.letterbox(photo, reading.preprocessing)
    ways = {"segment": _detect_masks, "obb": _detect_turned, "classify": _detect_classes}
    return ways.get(params.reading.task, _detect_boxes)(
        accuracy.name_outputs(run(picture), reading), place, params
    )


Outputs = dict[str, "np.ndarray"]


def _detect_boxes(outputs: Outputs, place: Placement, params: Params) -> tuple[Seen, ...]:
    from buildsys.steps.lib.heads import choosing, yolov8_decoding

    choice = yolov8_decoding.prediction(params.confidence)
    answer = accuracy.decode(outputs, params.reading)
    found = choosing.choose(params.reading.head, *answer, choice=choice)
    boxes = to_photo(found.boxes, place)
    points = found.keypoints.copy()
    points[..., :2] = to_photo(points[..., :2], place)
    return tuple(
        Seen(
            **_named(found.classes[i], found.scores[i], params),
            box=tuple(boxes[i].tolist()),
            keypoints=tuple(tuple(point) for point in points[i].tolist()),
        )
        for i in range(len(boxes))
    )


def _detect_masks(outputs: Outputs, place: Placement, params: Params) -> tuple[Seen, ...]:
    from buildsys.steps.lib.heads import choosing, instance_masks, yolov8_decoding

    reading = params.reading
    boxes, scores, _ = accuracy.decode(outputs, reading)
    choice = yolov8_decoding.prediction(params.confidence)
    cells, classes, values = choosing.select(reading.head, boxes, scores, choice)
    rows = instance_masks.decode_coefficients(outputs, reading.head, len(reading.classes))[cells]
    boxes = to_photo(boxes[cells], place)
    masks = instance_masks.draw_masks(rows, outputs["prototypes"][0], boxes, place)
    return tuple(
        Seen(
            **_named(category, score, params),
            box=tuple(box.tolist()),
            outline=instance_masks.find_outline(mask),
        )
        for category, score, box, mask in zip(classes, values, boxes, masks, strict=True)
    )


def _detect_turned(outputs: Outputs, place: Placement, params: Params) -> tuple[Seen, ...]:
    from buildsys.steps.lib.heads import choosing, yolov8_decoding
    from buildsys.steps.lib.heads.box_corners import corners_of

    choice = yolov8_decoding.prediction(params.confidence)
    answer = accuracy.decode_turned(outputs, params.reading)
    found = choosing.choose_turned(params.reading.head, *answer, choice=choice)
    corners = corners_of(turned_to_photo(found.boxes, place))
    return tuple(
        Seen(
            **_named(found.classes[i], found.scores[i], params),
            box=(*points.min(0).tolist(), *points.max(0).tolist()),
            outline=tuple(tuple(point) for point in points.tolist()),
        )
        for i, points in enumerate(corners)
    )


def _detect_classes(outputs: Outputs, place: Placement, params: Params) -> tuple[Seen, ...]:
    import numpy as np

    shares = accuracy.decode_classes(outputs, params.reading)
    box = (0.0, 0.0, float(place.width), float(place.height))
    return tuple(
        Seen(**_named(index, shares[index], params), box=box, whole=True)
        for index in np.argsort(-shares, kind="stable")[:_CLASSES]
        if shares[index] >= params.confidence
    )


def _named(category: Any, score: Any, params: Params) -> dict[str, Any]:
    name = params.reading.classes[int(category)]
    return {"name": name, "category": int(category), "score": float(score)}


def mark(item: Seen) -> Any:
    """Return a detection as a mark for `overlays`."""
    from buildsys.steps.lib.images import overlays

    return overlays.Mark(
        text=f"{item.name} {item.score:.2f}",
        category=item.category,
        box=item.box,
        keypoints=tuple((i, x, y, v > _SEEN) for i, (x, y, v) in enumerate(item.keypoints)),
        outline=item.outline,
    )


def _row(
    picture: Picture, photo: "np.ndarray", objects: tuple[Seen, ...], params: Params
) -> dict[str, Any]:
    """Return the row of an image, with pixels rounded to 0.01 and scores to 0.0001."""
    entries = []
    for item in objects:
        entry: dict[str, Any] = {"class": item.name, "score": round(item.score, 4)}
        if not item.whole:
            entry["box"] = [round(value, 2) for value in item.box]
        if params.reading.keypoints:
            entry["keypoints"] = [
                [round(x, 2), round(y, 2), round(v, 4)] for x, y, v in item.keypoints
            ]
        if params.reading.task in ("segment", "obb"):
            key = "outline" if params.reading.task == "segment" else "corners"
            entry[key] = [[round(x, 2), round(y, 2)] for x, y in item.outline]
        entries.append(entry)
    return {
        "picture": picture.path,
        "drawing": picture.drawing,
        "width": photo.shape[1],
        "height": photo.shape[0],
        "objects": entries,
    }
