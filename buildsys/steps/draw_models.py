"""Draw labelled images, and the detections of checkpoint, float model and shipped model on the same
images.

Drawings have the size that the page shows, so that names stay readable on images of any size.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.datasets.labels import Object, read_labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, class_of, list_images
from buildsys.steps.lib.heads.tasks import shape_of
from buildsys.steps.lib.heads.thresholds import CONFIDENCE
from buildsys.steps.lib.metrics import accuracy
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    import numpy as np

    from buildsys.steps.lib.metrics.predictions import Run, Seen

STEP = StepSpec(
    tool_env="evaluate",
    produces=Format.DRAWINGS,
    resources=Resources(memory_mib=1200),
)
_LONGEST_SIDE = 640
_FLOAT = ("onnx", "float-tflite")
"""Inputs that may be the float model; the first that exists is used."""
_COUNT, _SEED = 4, 0
"""Images that are drawn, and the seed of the shuffle that chooses them."""
_LEAST = 0.05
"""Detections below this score are ignored; those between it and the confidence are listed, not
drawn.
"""


@dataclass(frozen=True, kw_only=True)
class Params:
    """`split`: where the images are from. `reading`: how evaluation reads this network; reference
    kernels apply to the shipped model only.
    """

    split: Split
    reading: accuracy.Params


LABELS = "labels"
"""The form that shows an image's labels."""
Form = Callable[[int], "Run"]
"""Returns the network for the image with that number, because a recording is indexed by number."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Draw. `inputs`: `onnx` or `float-tflite`; `tflite`, the shipped model before the NPU's
    compiler; `dataset`; optionally `checkpoint` with its `recording` and the recorded `pictures`.

    `outputs`: `drawings` with <k>-labels.jpg, <k>-<form>.jpg, and drawings.json with names, counts,
    digests and the highest score of every class.
    """
    before, shipped = _float_model(inputs), "tflite"
    plain = replace(params.reading, reference_kernels=False)
    forms: dict[str, Form] = {}
    if "recording" in inputs:
        forms["checkpoint"] = _recorded(inputs["recording"])
    forms[before] = _open(before, inputs[before], plain)
    forms[shipped] = _open(shipped, inputs[shipped], params.reading)
    folder = outputs["drawings"]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number, name, image in _pictures(inputs, params):
        networks = {form: network(number) for form, network in forms.items()}
        labels = _read_labels(inputs["dataset"], name, params.reading)
        rows.append(_draw(len(rows) + 1, name, image, labels, networks, params, folder))
        report(len(rows), _COUNT, "images")
    models = [{"form": form, "sha256": _digest(inputs[form])} for form in forms]
    found = {"models": models, "confidence": CONFIDENCE, "pictures": rows}
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "drawings.json").write_text(text + "\n", encoding="utf-8")


def _float_model(inputs: dict[str, Path]) -> str:
    found = next((kind for kind in _FLOAT if kind in inputs), "")
    if not found:
        fail(f"there is no model to draw with: one of {', '.join(_FLOAT)} is needed.")
    return found


def _open(kind: str, path: Path, reading: accuracy.Params) -> Form:
    from buildsys.steps.lib.networks import litert, onnx_session

    network: Run = (
        onnx_session.network(path)
        if kind == "onnx"
        else litert.Runner(path, reading.reference_kernels)
    )
    return lambda number: network


def _recorded(path: Path) -> Form:
    """Return a checkpoint's recorded outputs as a network; its framework is not needed."""
    from buildsys.steps.lib.parity import recording_files

    recording = recording_files.load(path)

    def network(number: int) -> "Run":
        answers = {output.name: output.real()[number : number + 1] for output in recording}
        return lambda picture: answers

    return network


def _pictures(inputs: dict[str, Path], params: Params) -> "Iterator[tuple[int, str, np.ndarray]]":
    """Yield (number, name, uint8 [h, w, 3] BGR); unreadable images are skipped, because evaluation
    reports them.
    """
    from buildsys.steps.lib.images import decoding

    found = 0
    for number, name in enumerate(_names(inputs, params)):
        if found == _COUNT:
            return
        photo = decoding.read(inputs["dataset"] / name)
        if photo.image is not None:
            found += 1
            yield number, name, photo.image


def _names(inputs: dict[str, Path], params: Params) -> list[str]:
    """Return the names of the images: the recorded ones, otherwise a seeded shuffle of the split."""
    import random

    if "pictures" in inputs:
        names: list[str] = json.loads((inputs["pictures"] / "sources.json").read_text("utf-8"))
        return names
    order = list_images(inputs["dataset"], params.split)
    random.Random(_SEED).shuffle(order)
    return [path.relative_to(inputs["dataset"]).as_posix() for path in order]


def _draw(
    number: int,
    name: str,
    image: "np.ndarray",
    labels: list[Object],
    networks: "dict[str, Run]",
    params: Params,
    folder: Path,
) -> dict[str, Any]:
    from buildsys.steps.lib.datasets import label_marks
    from buildsys.steps.lib.images import overlays
    from buildsys.steps.lib.metrics import predictions

    shown, scale = _fit(image)
    size = (shown.shape[1], shown.shape[0])
    truth = tuple(label_marks.mark(item, size, params.reading.classes) for item in labels)
    file = f"{number}-{LABELS}.jpg"
    overlays.save(folder / file, overlays.draw(shown, truth))
    views: list[dict[str, Any]] = [
        {"form": LABELS, "drawing": file, "objects": len(truth), "best": {}}
    ]
    for form, network in networks.items():
        found = predictions.detect(image, network, params.reading, _LEAST)
        objects = [item for item in found if item.score >= CONFIDENCE]
        marks = tuple(predictions.mark(_scaled(item, scale)) for item in objects)
        file = f"{number}-{form}.jpg"
        overlays.save(folder / file, overlays.draw(shown, marks))
        best: dict[str, float] = {}
        for item in found:
            best[item.name] = max(round(item.score, 4), best.get(item.name, 0.0))
        views.append({"form": form, "drawing": file, "objects": len(objects), "best": best})
    return {"picture": name, "views": views}


def _read_labels(dataset: Path, name: str, reading: accuracy.Params) -> list[Object]:
    """Return the labels of an image; a label for the whole image is one object of its size."""
    if reading.task == "classify":
        category = class_of(dataset / name, dataset, reading.split, reading.classes)
        return [Object(category=category, box=(0.5, 0.5, 1.0, 1.0), keypoints=())]
    points, dims, count = reading.keypoints, reading.keypoint_dims, len(reading.classes)
    return read_labels(dataset, dataset / name, points, dims, count, shape_of(reading.task))


def _fit(image: "np.ndarray") -> "tuple[np.ndarray, float]":
    """Return the image scaled to the page's size, and the factor."""
    import cv2
    import numpy as np

    scale = _LONGEST_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kind)), scale


def _scaled(item: "Seen", scale: float) -> "Seen":
    """Return a detection in pixels of the scaled image."""
    x1, y1, x2, y2 = (value * scale for value in item.box)
    points = tuple((x * scale, y * scale, seen) for x, y, seen in item.keypoints)
    outline = tuple((x * scale, y * scale) for x, y in item.outline)
    return replace(item, box=(x1, y1, x2, y2), keypoints=points, outline=outline)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
