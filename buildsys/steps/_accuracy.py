"""Accuracy over a split by pycocotools: one way for every format of the model.

Pictures go through the preprocessing contract one by one; detections come back to the photograph's
own pixels; COCO's evaluation does the counting. A keypoint's area is 0.53 of its box's, as in
Ultralytics' validation; sigmas are the dataset's own, else COCO's for 17 keypoints.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Preprocessing
from buildsys.steps._dataset import Split, list_images, read_labels
from buildsys.steps._progress import fail, report

if TYPE_CHECKING:
    import numpy as np

_AREA_SHARE = 0.53


@dataclass(frozen=True, kw_only=True)
class Params:
    """What accuracy is measured on, and how the outputs are to be read."""

    split: Split
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    sigmas: tuple[float, ...]
    head: str
    preprocessing: Preprocessing
    reference_kernels: bool = False
    """For integer TFLite files: the kernels that are bit-exact with TFLite Micro."""


Predict = Callable[["np.ndarray"], "tuple[np.ndarray, np.ndarray, np.ndarray]"]
"""Picture uint8 [h, w, 3] -> (boxes [N, 4], scores [N, classes], keypoints [N, k, 3]) in its pixels."""


def measure(
    model: Path, dataset: Path, predict: Predict, params: Params, target: Path, kind: str
) -> None:
    """Run the model over the split and write metrics.json beside the model's digest."""
    truth, found = _collect(dataset, predict, params)
    figures: dict[str, Any] = {
        "model": {"format": kind, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()},
        "split": params.split.name,
        "pictures": len(truth["images"]),
        "objects": len(truth["annotations"]),
    }
    if not truth["annotations"]:
        fail(f"the {params.split.name} split has no labels: there is nothing to measure against.")
    figures["metrics"] = _coco(truth, found, "bbox", "box", params)
    if params.keypoints:
        figures["metrics"] |= _coco(truth, found, "keypoints", "keypoints", params)
    target.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def decode(outputs: "dict[str, np.ndarray]", params: Params) -> Any:
    """Named outputs -> (boxes, scores, keypoints), by the head that the export chose."""
    from buildsys.steps import _decode

    frame = params.preprocessing
    if params.head == "raw":
        return _decode.decode_raw(outputs, frame.height, frame.width, params.keypoint_dims)
    if params.head == "split":
        outputs = {"detections": _decode.join_split(outputs["boxes"], outputs["scores"])}
    detections = outputs["detections"]
    if params.head in ("split", "normalized"):
        detections = _decode.to_pixels(detections, frame.height, frame.width)
    return _decode.decode_detections(detections, len(params.classes), params.keypoint_dims)


def _collect(
    dataset: Path, predict: Predict, params: Params
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from buildsys.steps import _decode, _pictures

    truth: dict[str, Any] = {"images": [], "annotations": [], "categories": _categories(params)}
    found: list[dict[str, Any]] = []
    images = list_images(dataset, params.split)
    for index, path in enumerate(images):
        photo = _pictures.read_image(path)
        height, width = photo.shape[:2]
        picture, scale, pad = _pictures.letterbox(photo, params.preprocessing)
        detections = _decode.suppress(*predict(picture))
        truth["images"].append({"id": index, "width": width, "height": height})
        labels = read_labels(path, params.keypoints, params.keypoint_dims, len(params.classes))
        for label in labels:
            truth["annotations"].append(
                _annotation(len(truth["annotations"]) + 1, index, label, width, height)
            )
        found += _rows(index, detections, scale, pad)
        report(index + 1, len(images), "pictures")
    return truth, found


def _categories(params: Params) -> list[dict[str, Any]]:
    names = [f"k{i}" for i in range(params.keypoints)]
    return [
        {"id": i, "name": name, "keypoints": names, "skeleton": []}
        for i, name in enumerate(params.classes)
    ]


def _annotation(number: int, image: int, label: Any, width: int, height: int) -> dict[str, Any]:
    w, h = label.box[2] * width, label.box[3] * height
    points = [(x * width, y * height, v) for x, y, v in label.keypoints]
    return {
        "id": number,
        "image_id": image,
        "category_id": label.category,
        "bbox": [label.box[0] * width - w / 2, label.box[1] * height - h / 2, w, h],
        "area": w * h * (_AREA_SHARE if points else 1.0),
        "iscrowd": 0,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": sum(v > 0 for *_, v in points),
    }


def _rows(image: int, detections: Any, scale: float, pad: tuple[int, int]) -> list[dict[str, Any]]:
    """Detections as COCO result rows, in the photograph's pixels."""
    import numpy as np

    shift = np.array(pad, np.float64)
    boxes = (detections.boxes - np.tile(shift, 2)) / scale
    points = detections.keypoints.copy()
    points[..., :2] = (points[..., :2] - shift) / scale
    return [
        {
            "image_id": image,
            "category_id": int(detections.classes[i]),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": float(detections.scores[i]),
            "keypoints": points[i].ravel().tolist(),
        }
        for i, box in enumerate(boxes.tolist())
    ]


def _coco(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str, prefix: str, params: Params
) -> dict[str, float]:
    """`<prefix>.mAP50`, `<prefix>.mAP50-95` and the latter per class, rounded to 1e-6."""
    import contextlib
    import io

    import numpy as np
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = truth
        reference.createIndex()
        rows = [
            {k: v for k, v in row.items() if k != ("keypoints" if kind == "bbox" else "bbox")}
            for row in found
        ]
        if not rows:
            return {f"{prefix}.mAP50": 0.0, f"{prefix}.mAP50-95": 0.0}
        evaluation = COCOeval(reference, reference.loadRes(rows), kind)
        if kind == "keypoints" and params.sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(params.sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
    # [thresholds, recalls, classes, area ranges, detections per picture]; all areas, most detections
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    result = {
        f"{prefix}.mAP50": _mean(precision[0]),
        f"{prefix}.mAP50-95": _mean(precision),
    }
    if len(params.classes) > 1:
        for index, name in enumerate(params.classes):
            result[f"{prefix}.mAP50-95.{name}"] = _mean(precision[:, :, index])
    return result


def _mean(precision: "np.ndarray") -> float:
    measured = precision[precision > -1]
    return round(float(measured.mean()), 6) if measured.size else 0.0
