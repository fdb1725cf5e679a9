"""The same pictures as the model in floating point and the file that ships see them, side by side.

Drawings are as large as a page shows them, whatever the photograph's size: names stay readable.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Resources
from buildsys.steps import _accuracy
from buildsys.steps._dataset import Split, list_images
from buildsys.steps._progress import fail, report

if TYPE_CHECKING:
    import numpy as np

    from buildsys.steps._predict import Seen

TOOL_ENV = "evaluate"
RESOURCES = Resources(memory_mib=1200)
_LONGEST_SIDE = 640
_FLOAT = ("onnx", "float-tflite")
"""Inputs that may be the model in floating point; the first that is there."""
_SHIPPED = ("tflite", "shipped-onnx")
"""Inputs that may be what ships."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """`count` pictures of a split by a seeded shuffle; detections below `confidence` are left out.

    `reading`: how evaluation reads this network; its reference kernels are for what ships alone.
    """

    split: Split
    count: int = 4
    seed: int = 0
    confidence: float = 0.25
    reading: _accuracy.Params


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`onnx` or `float-tflite`; `tflite` (what ships, before the NPU's compiler) or `shipped-onnx`;
    `dataset`.

    `drawings`: <k>-float.jpg, <k>-shipped.jpg, and drawings.json with names, counts, digests.
    """
    kinds = {"float": _first(_FLOAT, inputs), "shipped": _first(_SHIPPED, inputs)}
    plain = replace(params.reading, reference_kernels=False)
    readings = {"float": plain, "shipped": params.reading}
    files = {side: inputs[kind] for side, kind in kinds.items()}
    networks = {side: _open(kinds[side], path, readings[side]) for side, path in files.items()}
    folder = outputs["drawings"]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, image in _pictures(inputs["dataset"], params):
        rows.append(_draw(len(rows) + 1, name, image, networks, params, folder))
        report(len(rows), params.count, "pictures")
    models = {name: {"sha256": _digest(path)} for name, path in files.items()}
    found = {"models": models, "confidence": params.confidence, "pictures": rows}
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False)
    (folder / "drawings.json").write_text(text + "\n", encoding="utf-8")


def _first(kinds: tuple[str, ...], inputs: dict[str, Path]) -> str:
    found = next((kind for kind in kinds if kind in inputs), "")
    if not found:
        fail(f"there is no model to draw with: one of {', '.join(kinds)} is needed.")
    return found


Network = Callable[[Any], dict[str, Any]]


def _open(kind: str, path: Path, reading: _accuracy.Params) -> Network:
    from buildsys.steps import _litert, _onnx

    if kind.endswith("onnx"):
        return _onnx.network(path)
    return _litert.Runner(path, reading.reference_kernels)


def _pictures(dataset: Path, params: Params) -> "list[tuple[str, np.ndarray]]":
    """(name, uint8 [h, w, 3] BGR); what cannot be read is passed over: evaluation tells of it."""
    import random

    from buildsys.steps import _photo

    order = list_images(dataset, params.split)
    random.Random(params.seed).shuffle(order)
    found: list[tuple[str, np.ndarray]] = []
    for path in order:
        photo = _photo.read(path)
        if photo.image is not None and len(found) < params.count:
            found.append((path.relative_to(dataset).as_posix(), photo.image))
        if len(found) == params.count:
            break
    return found


def _draw(
    number: int, name: str, image: "np.ndarray", networks: dict[str, Network], params: Params,
    folder: Path,
) -> dict[str, Any]:  # fmt: skip
    from buildsys.steps import _drawing, _predict

    shown, scale = _fit(image)
    row: dict[str, Any] = {"picture": name}
    for side, network in networks.items():
        objects = _predict.detect(image, network, params.reading, params.confidence)
        marks = tuple(_predict.mark(_scaled(item, scale)) for item in objects)
        file = f"{number}-{side}.jpg"
        _drawing.save(folder / file, _drawing.draw(shown, marks))
        row[side] = {"drawing": file, "objects": len(objects)}
    return row


def _fit(image: "np.ndarray") -> "tuple[np.ndarray, float]":
    """The picture with its longer side as long as a page shows it, and the factor."""
    import cv2
    import numpy as np

    scale = _LONGEST_SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kind)), scale


def _scaled(item: "Seen", scale: float) -> "Seen":
    x1, y1, x2, y2 = (value * scale for value in item.box)
    points = tuple((x * scale, y * scale, seen) for x, y, seen in item.keypoints)
    return replace(item, box=(x1, y1, x2, y2), keypoints=points)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
