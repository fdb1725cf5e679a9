"""What the programs of a package have to know of its network: engine.json, model.json.

They are templates/common/looking.py and what it rests on; a package for Linux boards has its own.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import ModelSpec, Preprocessing
from buildsys.steps.lib.heads import yolov8_decoding
from buildsys.steps.lib.packages.contents import (
    describe_preprocessing,
    write_companions,
    write_json,
)

CONFIDENCE = 0.25
"""What `buildsys predict` leaves out below, too."""
LOOKING = ("common/looking.py", "common/pictures.py", "common/shapes.py", "common/vision.py")
"""What prepares pictures, decodes answers and tells them; of templates/."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """`head` as ModelSpec's, none where nobody says what the outputs mean; `outputs`: names of the
    head's outputs in their canonical order; `batch`: (least, best, most) pictures at once.
    """

    name: str
    label: str
    task: str
    head: str
    outputs: tuple[str, ...]
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing | None
    scheme: str
    batch: tuple[int, int, int]


def network(model: ModelSpec, label: str) -> Network:
    """Of a build's model, for the board called `label`."""
    return Network(
        name=model.name,
        label=label,
        task=model.task,
        head=model.head if model.outputs else "none",
        outputs=tuple(tensor.name for tensor in model.outputs),
        classes=model.classes,
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        preprocessing=model.preprocessing,
        scheme=model.quantization.scheme,
        batch=model.batch,
    )


def describe(net: Network, place: Path, package: Path, outputs: Iterable[str]) -> dict[str, Any]:
    """The facts, but for inputs and outputs. `place`: of the model in the package; `outputs`: the
    names in the file's order, of which `named` says what the head calls them.
    """
    frame, found = net.preprocessing, tuple(outputs)
    others = set(found) != set(net.outputs) and len(found) == len(net.outputs)
    return {
        "file": place.relative_to(package).as_posix(),
        "sha256": hashlib.sha256(place.read_bytes()).hexdigest(),
        "task": net.task,
        "head": net.head,
        "named": dict(zip(found, net.outputs, strict=True)) if others else {},
        "classes": list(net.classes),
        "keypoints": net.keypoints,
        "keypoint_dims": net.keypoint_dims,
        "preprocessing": None
        if frame is None
        else {"height": frame.height, "width": frame.width, "resize": frame.resize},
        "scheme": net.scheme,
        "batch": list(net.batch),
        "confidence": CONFIDENCE,
        "iou": yolov8_decoding.IOU,
    }


def write_surroundings(
    package: Path, net: Network, inputs: dict[str, Path], programs: tuple[str, ...]
) -> int:
    """Labels, figures, the preprocessing, the programs; returns how many pictures calibrated."""
    write_companions(package, net.classes, inputs)
    for program in programs:
        shutil.copyfile(inputs["templates"] / program, package / Path(program).name)
    frame = describe_preprocessing(net.preprocessing)
    if frame is not None:
        layout = {"layout": "NCHW", "values": "0..255 divided by 255, float32"}
        write_json(package / "preprocessing.json", {**frame, **layout})
    if "calibration" not in inputs:
        return 0
    shutil.copyfile(inputs["calibration"] / "sources.json", package / "calibration.json")
    return len(json.loads((package / "calibration.json").read_text(encoding="utf-8")))
