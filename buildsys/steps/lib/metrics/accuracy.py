"""Measure accuracy over a split, in the same way for every model format and with fixed figures per
task.

Images go through the preprocessing contract one by one; detections are converted back to pixels of
the original image, as in Ultralytics. Boxes, keypoints and masks are evaluated by pycocotools,
oriented boxes and classes by Ultralytics' definitions.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import MASK_CHANNELS, Preprocessing
from buildsys.steps.lib.datasets.labels import read_labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, class_of, list_images
from buildsys.steps.lib.heads import given_outputs
from buildsys.steps.lib.heads.branches import is_raw
from buildsys.steps.lib.heads.output_names import assign
from buildsys.steps.lib.heads.tasks import shape_of
from buildsys.steps.lib.metrics import curves, keypoint_sigmas
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    import numpy as np

_TOP = 5


@dataclass(frozen=True, kw_only=True)
class Params:
    """What accuracy is measured on, and how to read the outputs."""

    split: Split
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    sigmas: tuple[float, ...]
    head: str
    preprocessing: Preprocessing
    reference_kernels: bool = False
    """For integer TFLite files: use TFLite's reference kernels, which are bit-exact with TFLite
    Micro, instead of LiteRT's default kernels.
    """
    task: str = ""


_Result = tuple[int, dict[str, float | None], list[curves.Curves], curves.Confusion]
"""Number of objects, metrics by name (None: the split has nothing to measure them on), curves of
each kind, confusion matrix.
"""
Predict = Callable[["np.ndarray"], "dict[str, np.ndarray]"]
"""A function: image uint8 [h, w, 3] -> outputs by name, as `outputs` lists them for the head."""


def measure(
    model: Path,
    dataset: Path,
    predict: Predict,
    params: Params,
    target: Path,
    kind: str,
    kernels: str = "",
    curves_target: Path | None = None,
    processes: int = 1,
) -> None:
    """Run the model over the split and write metrics.json with the model's digest.

    `kernels`: the kernels used, if a file of this kind can be computed in several ways.
    `curves_target`: the file for precision over recall and the confusion matrix. `processes`:
    number of processes that call `predict`, which must return the same in each.
    """
    ways = {"segment": _measure_masks, "obb": _measure_turned, "classify": _measure_classes}
    way = ways.get(params.task, _measure_boxes)
    pictures = list_images(dataset, params.split)
    named = _name_in_order(predict, pictures, params, processes)
    objects, metrics, traced, confusion = way(dataset, pictures, named, params)
    if not objects:
        fail(f"the {params.split.name} split has no labels: there is nothing to measure against.")
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    figures = {
        "model": {"format": kind, "sha256": sha256},
        "split": params.split.name,
        "pictures": len(pictures),
        "objects": objects,
        "metrics": metrics,
        **({"kernels": kernels} if kernels else {}),
        **_describe_sigmas(params),
    }
    target.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if curves_target is not None:
        found = curves.Measured(
            sha256=sha256,
            split=params.split.name,
            pictures=len(pictures),
            curves=tuple(traced),
            confusion=confusion,
        )
        curves.write(curves_target, found)


def _name_in_order(
    predict: Predict, pictures: list[Path], params: Params, processes: int
) -> Predict:
    """Return a function that gives one image's outputs by name. It is called once per image, in
    order; several processes run `predict` on the images that follow.
    """
    from buildsys.steps.lib.images import decoding, prepared_images
    from buildsys.steps.lib.runtime import ahead

    def answer(path: Path) -> "dict[str, np.ndarray]":
        return predict(
            prepared_images.letterbox(decoding.read_image(path), params.preprocessing)[0]
        )

    answers = ahead.in_order(answer, pictures, processes) if processes > 1 else None

    def named(picture: "np.ndarray") -> "dict[str, np.ndarray]":
        return name_outputs(next(answers) if answers else predict(picture), params)

    return named


def name_outputs(found: "dict[str, np.ndarray]", params: Params) -> "dict[str, np.ndarray]":
    """Return a file's outputs by the head's names, as `output_names` finds them. Prototypes of masks
    are returned as [1, h, w, channels], as in TFLite files. Ends the step for outputs of another
    head.
    """
    frame, shapes = params.preprocessing, [(name, value.shape) for name, value in found.items()]
    counts = (len(params.classes), params.keypoints, params.keypoint_dims)
    wanted = given_outputs.expect(
        shapes, params.head, (frame.height, frame.width), counts, params.task
    )
    names = assign(wanted, shapes)
    if names is not None:
        found = dict(zip(names, found.values(), strict=True))
    elif not wanted.keys() <= found.keys():
        fail(f"the file {given_outputs.explain_others(wanted, shapes)}.")
    return {
        name: value.transpose(0, 2, 3, 1) if _is_planar(name, value) else value
        for name, value in found.items()
    }


def _is_planar(name: str, value: "np.ndarray") -> bool:
    shape = value.shape
    return name == "prototypes" and shape[1] == MASK_CHANNELS and shape[3] != MASK_CHANNELS


def _describe_sigmas(params: Params) -> dict[str, Any]:
    """Return the sigmas that keypoints were evaluated with."""
    if not params.keypoints:
        return {}
    sigmas = keypoint_sigmas.choose(params.sigmas, params.keypoints)
    return {"keypoint_sigmas": {"values": list(sigmas.values), "source": sigmas.source}}


def decode(outputs: "dict[str, np.ndarray]", params: Params) -> Any:
    """Decode named outputs to (boxes, scores, keypoints), according to the exported head."""
    from buildsys.steps.lib.heads import decoders

    frame, classes = params.preprocessing, len(params.classes)
    if given_outputs.has_pixel_keypoints(outputs, params.head, classes, params.keypoint_dims):
        fail(f"the file {given_outputs.PIXEL_KEYPOINTS}: {given_outputs.PIXEL_KEYPOINTS_CURE}.")
    return decoders.decode(
        outputs, params.head, frame.height, frame.width, classes, params.keypoint_dims
    )


def decode_turned(outputs: "dict[str, np.ndarray]", params: Params) -> Any:
    """Decode named outputs of an obb network to (boxes [N, 5], scores [N, classes])."""
    from buildsys.steps.lib.heads import decoders

    frame = params.preprocessing
    classes = len(params.classes)
    return decoders.decode_turned(outputs, params.head, frame.height, frame.width, classes)


def decode_classes(outputs: "dict[str, np.ndarray]", params: Params) -> "np.ndarray":
    """Return the probabilities [classes] from named outputs of a classify network."""
    import numpy as np

    if not is_raw(params.head):
        return np.asarray(outputs["probabilities"][0], np.float64)
    logits = outputs["logits"][0].astype(np.float64)
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


def labels_of(dataset: Path, picture: Path, params: Params) -> list[Any]:
    """Return the labelled objects of an image; ends the step at a wrong line."""
    shape, count = shape_of(params.task), len(params.classes)
    return read_labels(dataset, picture, params.keypoints, params.keypoint_dims, count, shape)


def _most_detections(labels: list[list[Any]]) -> int:
    """Return the maximum number of detections per image: 300, or the largest number of objects in
    one image, as in Ultralytics' `val`.
    """
    from buildsys.steps.lib.heads import yolov8_decoding

    return max(yolov8_decoding.MOST_DETECTIONS, *map(len, labels))


def _measure_boxes(
    dataset: Path, pictures: list[Path], predict: Predict, params: Params
) -> _Result:
    from dataclasses import replace

    from buildsys.steps.lib.heads import choosing, yolov8_decoding
    from buildsys.steps.lib.heads.placement import to_photo
    from buildsys.steps.lib.images import decoding, prepared_images
    from buildsys.steps.lib.metrics import coco_metrics

    labels = [labels_of(dataset, path, params) for path in pictures]
    choice = replace(yolov8_decoding.MEASURED, most=_most_detections(labels))
    tally = coco_metrics.Tally(params.classes, params.keypoints, choice.most)
    for done, (path, objects) in enumerate(zip(pictures, labels, strict=True), 1):
        photo = decoding.read_image(path)
        picture, place = prepared_images.letterbox(photo, params.preprocessing)
        answer = decode(predict(picture), params)
        found = choosing.choose(params.head, *answer, choice=choice)
        number = tally.add_picture(place.width, place.height, objects)
        boxes = to_photo(found.boxes, place)
        points = found.keypoints.copy()
        points[..., :2] = to_photo(points[..., :2], place)
        for index, row in enumerate(_rows(number, boxes, found.classes, found.scores)):
            tally.rows.append(row | {"keypoints": points[index].ravel().tolist()})
        report(done, len(pictures), "images")
    metrics = tally.measure("bbox", "box")
    if params.keypoints:
        metrics |= tally.measure(
            "keypoints",
            "keypoints",
            keypoint_sigmas.choose(params.sigmas, params.keypoints).values,
        )
    return len(tally.truth["annotations"]), metrics, tally.curves, tally.confuse()


def _measure_masks(
    dataset: Path, pictures: list[Path], predict: Predict, params: Params
) -> _Result:
    from dataclasses import replace

    from buildsys.steps.lib.heads import choosing, instance_masks, yolov8_decoding
    from buildsys.steps.lib.heads.placement import to_photo
    from buildsys.steps.lib.images import decoding, prepared_images
    from buildsys.steps.lib.metrics import coco_metrics

    labels = [labels_of(dataset, path, params) for path in pictures]
    choice = replace(yolov8_decoding.MEASURED, most=_most_detections(labels))
    tally = coco_metrics.Tally(params.classes, 0, choice.most)
    for done, (path, objects) in enumerate(zip(pictures, labels, strict=True), 1):
        photo = decoding.read_image(path)
        picture, place = prepared_images.letterbox(photo, params.preprocessing)
        outputs = predict(picture)
        boxes, scores, _ = decode(outputs, params)
        cells, classes, values = choosing.select(params.head, boxes, scores, choice)
        rows = instance_masks.decode_coefficients(outputs, params.head, len(params.classes))[cells]
        boxes = to_photo(boxes[cells], place)
        number = tally.add_picture(place.width, place.height, objects)
        masks = instance_masks.draw_masks(rows, outputs["prototypes"][0], boxes, place)
        for row, mask in zip(_rows(number, boxes, classes, values), masks, strict=True):
            tally.rows.append(row | {"segmentation": instance_masks.encode(mask)})
        report(done, len(pictures), "images")
    metrics = tally.measure("bbox", "box") | tally.measure("segm", "masks")
    return len(tally.truth["annotations"]), metrics, tally.curves, tally.confuse()


def _measure_turned(
    dataset: Path, pictures: list[Path], predict: Predict, params: Params
) -> _Result:
    from dataclasses import replace

    import numpy as np

    from buildsys.steps.lib.heads import choosing, oriented_boxes
    from buildsys.steps.lib.heads.placement import turned_to_photo
    from buildsys.steps.lib.images import decoding, prepared_images
    from buildsys.steps.lib.metrics import oriented_accuracy

    every = [labels_of(dataset, path, params) for path in pictures]
    choice = replace(oriented_boxes.MEASURED, most=_most_detections(every))
    tally = oriented_accuracy.Tally(params.classes)
    for done, (path, labels) in enumerate(zip(pictures, every, strict=True), 1):
        photo = decoding.read_image(path)
        size = np.array([photo.shape[1], photo.shape[0]])
        picture, place = prepared_images.letterbox(photo, params.preprocessing)
        answer = decode_turned(predict(picture), params)
        found = choosing.choose_turned(params.head, *answer, choice=choice)
        found = replace(found, boxes=turned_to_photo(found.boxes, place))
        corners = [oriented_boxes.fit_corners(np.array(item.outline) * size) for item in labels]
        tally.add_picture(found, corners, [item.category for item in labels])
        report(done, len(pictures), "images")
    found_classes = {item.category for labels in every for item in labels}
    metrics = present(tally.measure("obb"), "obb.mAP50-95", params.classes, found_classes)
    return tally.objects, metrics, tally.curves, tally.confuse()


def present(
    metrics: dict[str, float], headline: str, classes: tuple[str, ...], found: set[int]
) -> dict[str, float | None]:
    """Return the metrics with None for each class that is not among those `found` in the labels."""
    absent = {f"{headline}.{name}" for n, name in enumerate(classes) if n not in found}
    return {name: None if name in absent else value for name, value in metrics.items()}


def _measure_classes(
    dataset: Path, pictures: list[Path], predict: Predict, params: Params
) -> _Result:
    """Return `top1` and `top5`: shares of the images whose class is the first, or among the first
    five; `top1.<class>` for the images of a class.
    """
    import numpy as np

    from buildsys.steps.lib.images import decoding, prepared_images

    places = np.zeros(len(pictures), int)
    truth = np.zeros(len(pictures), int)
    matrix = curves.Matrix(params.classes, whole=True)
    for index, path in enumerate(pictures):
        truth[index] = class_of(path, dataset, params.split, params.classes)
        picture, *_ = prepared_images.letterbox(decoding.read_image(path), params.preprocessing)
        scores = decode_classes(predict(picture), params)
        order = np.argsort(-scores, kind="stable")
        places[index] = np.flatnonzero(order == truth[index])[0]
        matrix.add_whole(int(truth[index]), int(order[0]))
        report(index + 1, len(pictures), "images")
    metrics = shares(places, truth, params.classes)
    return len(pictures), metrics, [], matrix.result()


def shares(
    places: "np.ndarray", truth: "np.ndarray", classes: tuple[str, ...]
) -> dict[str, float | None]:
    """Return `top1`, `top5` and `top1.<class>` from each image's class in `truth` and that class's
    place in the answer; None without images.
    """
    metrics = {"top1": _share(places < 1), "top5": _share(places < _TOP)}
    if len(classes) > 1:
        for number, name in enumerate(classes):
            metrics[f"top1.{name}"] = _share(places[truth == number] < 1)
    return metrics


def _share(hits: "np.ndarray") -> float | None:
    return round(float(hits.mean()), 6) if hits.size else None


def _rows(
    number: int, boxes: "np.ndarray", classes: "np.ndarray", scores: "np.ndarray"
) -> list[dict[str, Any]]:
    """Return detections as COCO result rows; boxes are x1 y1 x2 y2 in pixels of the original image."""
    return [
        {
            "image_id": number,
            "category_id": int(category),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "score": float(score),
        }
        for box, category, score in zip(boxes.tolist(), classes, scores, strict=True)
    ]
