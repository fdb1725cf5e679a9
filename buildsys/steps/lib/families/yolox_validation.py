"""Measure accuracy on the val split while a YOLOX network is trained, with upstream's decoding and
pycocotools.

It measures in the network's frame; the figures that a build reports come from `evaluate_yolox`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from buildsys.steps.lib.families.yolox_data import Samples

FITNESS = "metrics/mAP50-95(B)"
"""The column that decides which epoch is the best."""
_CONFIDENCE, _OVERLAP = 0.001, 0.65
"""Minimum score of detections, and the overlap above which suppression removes one; upstream's test
values.
"""


def measure(model: Any, samples: "Samples", classes: int) -> dict[str, float]:
    """Return columns of accuracy; `model` is in evaluation mode, `samples` without augmentation."""
    import torch
    from yolox.utils import postprocess

    device = next(model.parameters()).device
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number in range(len(samples)):
        frame, boxes = samples.place(number)
        for box in boxes.tolist():
            truth.append(_row(number, box, int(box[4])) | {"id": len(truth) + 1, "iscrowd": 0})
        picture = torch.from_numpy(frame.transpose(2, 0, 1)[None].astype("float32")).to(device)
        with torch.no_grad():
            (rows,) = postprocess(model(picture), classes, _CONFIDENCE, _OVERLAP)
        for *box, objectness, share, category in [] if rows is None else rows.tolist():
            found.append(_row(number, box, int(category)) | {"score": objectness * share})
    both, half = _count(truth, found, len(samples), classes) if truth and found else (0.0, 0.0)
    return {"metrics/mAP50(B)": half, FITNESS: both}


def _row(number: int, box: list[float], category: int) -> dict[str, Any]:
    x1, y1, x2, y2 = box[:4]
    width, height = x2 - x1, y2 - y1
    return {
        "image_id": number,
        "category_id": category,
        "bbox": [x1, y1, width, height],
        "area": width * height,
    }


def _count(
    truth: list[dict[str, Any]], found: list[dict[str, Any]], images: int, classes: int
) -> tuple[float, float]:
    """Return mAP50-95 and mAP50, rounded to 1e-6."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "images": [{"id": number} for number in range(images)],
            "annotations": truth,
            "categories": [{"id": number} for number in range(classes)],
        }
        reference.createIndex()
        evaluation = COCOeval(reference, reference.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return round(float(evaluation.stats[0]), 6), round(float(evaluation.stats[1]), 6)
