"""Write the facts about a network that a package's programs need: engine.json, model.json.

The programs are templates/common/looking.py and the modules that it imports; packages for Linux
boards have their own.
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
from buildsys.steps.lib.heads.thresholds import CONFIDENCE
from buildsys.steps.lib.packages.contents import (
    describe_preprocessing,
    write_companions,
    write_json,
)

LOOKING = ("common/looking.py", "common/pictures.py", "common/shapes.py", "common/vision.py")
"""Programs in templates/ that prepare images, decode outputs and print detections."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network. `head`: as in ModelSpec, none if the outputs' meaning is unknown; `outputs`:
    names of the head's outputs in canonical order; `batch`: (min, opt, max) images per inference.
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
    """Return the network of a build's model, for the board `label`."""
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
    """Return the facts without inputs and outputs. `place`: path of the model in the package;
    `outputs`: the names in file order, which `named` maps to the head's names.
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
    """Write labels, figures, preprocessing and programs; returns the number of calibration images."""
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
