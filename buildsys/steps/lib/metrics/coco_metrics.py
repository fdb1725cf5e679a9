"""Evaluate boxes, keypoints and masks of one split with pycocotools, in pixels of the original
images.

A keypoint object's area is 0.53 of its box's, as in Ultralytics' validation; sigmas are the
dataset's own, otherwise Ultralytics' (1/K; COCO's for 17 keypoints). Masks are compared at the
original image's size, as in COCO.
"""

from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.datasets.labels import Object
from buildsys.steps.lib.metrics import curves

if TYPE_CHECKING:
    import numpy as np

_AREA_SHARE = 0.53
_ANSWERS = {"bbox": "bbox", "keypoints": "keypoints", "segm": "segmentation"}
"""The key of a result row that each kind of evaluation reads; pycocotools guesses the kind from the
keys.
"""


class Tally:
    """Ground truth and detections of one split so far, in pycocotools' form.

    `most`: maximum number of detections per image; COCO's own 100, and 20 with keypoints, are fewer
    than Ultralytics'.
    """

    def __init__(self, classes: tuple[str, ...], keypoints: int, most: int) -> None:
        self._most = most
        points = [f"k{number}" for number in range(keypoints)]
        self.classes = classes
        self.truth: dict[str, Any] = {
            "images": [],
            "annotations": [],
            "categories": [
                {"id": number, "name": name, "keypoints": points, "skeleton": []}
                for number, name in enumerate(classes)
            ],
        }
        self.rows: list[dict[str, Any]] = []
        self.curves: list[curves.Curves] = []
        """The curves of each measured kind."""

    def add_picture(self, width: int, height: int, objects: list[Object]) -> int:
        """Add an image and its labels; returns its number, for the rows of its detections."""
        number = len(self.truth["images"])
        self.truth["images"].append({"id": number, "width": width, "height": height})
        for item in objects:
            row = _annotation(item, width, height)
            row |= {"id": len(self.truth["annotations"]) + 1, "image_id": number}
            self.truth["annotations"].append(row)
        return number

    def measure(
        self, kind: str, prefix: str, sigmas: tuple[float, ...] = ()
    ) -> dict[str, float | None]:
        """Return `<prefix>.mAP50`, `<prefix>.mAP50-95` and the latter per class, rounded to 1e-6;
        None where nothing is to be found.

        `kind`: bbox | keypoints | segm.
        """
        counts = self._counts(kind)
        if self.rows:
            evaluation = self._evaluate(kind, sigmas)
            # [thresholds, recalls, classes, area ranges, detections per image]: all areas
            precision = evaluation.eval["precision"][:, :, :, 0, -1]
            ranked = [_rank(evaluation, index) for index in range(len(self.classes))]
        else:
            import numpy as np

            precision = np.zeros((10, curves.STEPS, len(self.classes)))
            ranked = [((), ())] * len(self.classes)
        rankings = [
            curves.Ranking(name=name, objects=count, right=right, scores=scores)
            for name, count, (right, scores) in zip(self.classes, counts, ranked, strict=True)
        ]
        self.curves.append(curves.join(prefix, rankings))
        result = {
            f"{prefix}.mAP50": _mean(precision[0], sum(counts)),
            f"{prefix}.mAP50-95": _mean(precision, sum(counts)),
        }
        if len(self.classes) > 1:
            for index, name in enumerate(self.classes):
                result[f"{prefix}.mAP50-95.{name}"] = _mean(precision[:, :, index], counts[index])
        return result

    def confuse(self) -> curves.Confusion:
        """Return the confusion matrix by boxes."""
        matrix = curves.Matrix(self.classes)
        truth: dict[int, list[dict[str, Any]]] = {}
        found: dict[int, list[dict[str, Any]]] = {}
        for row in self.truth["annotations"]:
            truth.setdefault(row["image_id"], []).append(row)
        for row in self.rows:
            if curves.is_counted(row["score"]):
                found.setdefault(row["image_id"], []).append(row)
        for image in truth.keys() | found.keys():
            objects, answers = truth.get(image, []), found.get(image, [])
            matrix.add(
                [row["category_id"] for row in objects],
                [curves.Found(category=row["category_id"], score=row["score"]) for row in answers],
                [[curves.overlap(a["bbox"], b["bbox"]) for b in answers] for a in objects],
            )
        return matrix.result()

    def _counts(self, kind: str) -> list[int]:
        """Return the number of objects of each class that are to be found: pycocotools ignores
        objects without a labelled keypoint when it evaluates keypoints.
        """
        counts = [0] * len(self.classes)
        for row in self.truth["annotations"]:
            counts[row["category_id"]] += kind != "keypoints" or row["num_keypoints"] > 0
        return counts

    def _evaluate(self, kind: str, sigmas: tuple[float, ...]) -> Any:
        """Return pycocotools' evaluation; its precision is -1 for a class without objects to be
        found.
        """
        import contextlib
        import io

        import numpy as np
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        unread = set(_ANSWERS.values()) - {_ANSWERS[kind]}
        rows = [{k: v for k, v in row.items() if k not in unread} for row in self.rows]
        with contextlib.redirect_stdout(io.StringIO()):
            reference = COCO()
            reference.dataset = self.truth
            reference.createIndex()
            evaluation = COCOeval(reference, reference.loadRes(rows), kind)
            if kind == "keypoints" and sigmas:
                evaluation.params.kpt_oks_sigmas = np.array(sigmas)
            evaluation.params.maxDets = [self._most]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation


def _rank(evaluation: Any, index: int) -> tuple[tuple[bool, ...], tuple[float, ...]]:
    """Return of a class's detections, best first, whether each is correct, and its score: those that
    `accumulate` counts at the lowest overlap.
    """
    import numpy as np

    params = evaluation.params  # results are in the order class, area range, image
    start = index * len(params.areaRng) * len(params.imgIds)
    images = [
        item for item in evaluation.evalImgs[start : start + len(params.imgIds)] if item is not None
    ]
    if not images:
        return (), ()
    scores = np.concatenate([item["dtScores"] for item in images])
    right = np.concatenate([item["dtMatches"][0] for item in images]) > 0
    counted = ~np.concatenate([item["dtIgnore"][0] for item in images])
    order = np.argsort(-scores, kind="mergesort")
    order = order[counted[order]]
    return tuple(right[order].tolist()), tuple(scores[order].tolist())


def _annotation(item: Object, width: int, height: int) -> dict[str, Any]:
    w, h = item.box[2] * width, item.box[3] * height
    points = [(x * width, y * height, v) for x, y, v in item.keypoints]
    row = {
        "category_id": item.category,
        "bbox": [item.box[0] * width - w / 2, item.box[1] * height - h / 2, w, h],
        "area": w * h * (_AREA_SHARE if points else 1.0),
        "iscrowd": 0,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": sum(v > 0 for *_, v in points),
    }
    if item.outline:
        flat = [value for x, y in item.outline for value in (x * width, y * height)]
        row["segmentation"] = [flat]
    return row


def _mean(precision: "np.ndarray", count: int) -> float | None:
    """Return the mean over what was measured; `count`: the number of objects."""
    return round(float(precision[precision > -1].mean()), 6) if count else None
