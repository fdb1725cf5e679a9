"""TFLite file -> the folder to run it from on an ARM Linux board: the file, and programs for it.

The programs (buildsys/templates/linux) are shipped as they are; they need nothing of buildsys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing
from buildsys.steps import _decode
from buildsys.steps._linux_readme import Described, describe
from buildsys.steps._package import describe_preprocessing, write_companions, write_json

TOOL_ENV = ""
CONSUMES, PRODUCES = Format.TFLITE, Format.PACKAGE
NEEDS = ("verdict", "metrics", "calibration")
TEMPLATES = "linux"
"""Whose folder of shipped files is an input of the step."""
TEMPLATE_FILES = ("benchmark.py", "detect.py", "network.py", "requirements.txt", "vision.py")
UNVERIFIED = "Not verified: the package on the board itself; none was attached."
_CONFIDENCE = 0.25
"""What `buildsys predict` leaves out below, too."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Nothing to set."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name, and all that the programs have to know of it.

    `head`: as ModelSpec's; `outputs`: names of the head's outputs in their canonical order;
    `confidence`, `iou`: what detect.py leaves out unless it is told otherwise.
    """

    stem: str
    label: str
    task: str
    head: str
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    outputs: tuple[str, ...]
    preprocessing: Preprocessing | None
    scheme: str
    confidence: float
    iou: float


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Named after the recipe (and variant)."""
    return Params(
        stem=model.name,
        label=board.label,
        task=model.task,
        head=model.head,
        classes=model.classes,
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        outputs=tuple(tensor.name for tensor in model.outputs),
        preprocessing=model.preprocessing,
        scheme=model.quantization.scheme,
        confidence=_CONFIDENCE,
        iou=_decode.IOU,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: tflite, templates, metrics-*, calibration."""
    import hashlib
    import shutil

    folder, name = outputs["package"], f"{params.stem}.tflite"
    write_companions(folder, params.classes, inputs)
    shutil.copyfile(inputs["tflite"], folder / name)
    for program in TEMPLATE_FILES:
        shutil.copyfile(inputs["templates"] / program, folder / program)
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    write_json(folder / "model.json", _facts(params, name, sha256))
    frame = describe_preprocessing(params.preprocessing)
    if frame is not None:
        write_json(folder / "preprocessing.json", frame)
    if "calibration" in inputs:
        shutil.copyfile(inputs["calibration"] / "sources.json", folder / "calibration.json")
    described = Described(
        name=params.stem,
        label=params.label,
        file=name,
        bytes=(folder / name).stat().st_size,
        sha256=sha256,
        scheme=params.scheme,
        task=params.task,
        head=params.head if frame and params.outputs else "none",
        measured=(folder / "metrics.json").is_file(),
    )
    (folder / "README.md").write_text(describe(described), encoding="utf-8")


def _facts(params: Params, name: str, sha256: str) -> dict[str, Any]:
    """model.json: what detect.py and benchmark.py read."""
    frame = params.preprocessing
    return {
        "file": name,
        "sha256": sha256,
        "task": params.task,
        "head": params.head,
        "outputs": list(params.outputs),
        "classes": list(params.classes),
        "keypoints": params.keypoints,
        "keypoint_dims": params.keypoint_dims,
        "preprocessing": None
        if frame is None
        else {"height": frame.height, "width": frame.width, "resize": frame.resize},
        "confidence": params.confidence,
        "iou": params.iou,
    }
