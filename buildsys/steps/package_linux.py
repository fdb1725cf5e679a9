"""Package a TFLite file for an ARM Linux board: the file, and programs that run it.

The programs (buildsys/templates/linux) are copied unchanged; they do not need buildsys.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import BoardSpec, Format, ModelSpec, Preprocessing, StepSpec, Templates
from buildsys.steps.bind_outputs import bound_order
from buildsys.steps.lib.heads import meanings, yolov8_decoding
from buildsys.steps.lib.heads.bound_names import names_in_order
from buildsys.steps.lib.heads.thresholds import CONFIDENCE
from buildsys.steps.lib.packages.contents import (
    describe_preprocessing,
    write_companions,
    write_json,
)
from buildsys.steps.lib.packages.edges import name_layouts
from buildsys.steps.lib.packages.linux_readme import Described, Row, describe

if TYPE_CHECKING:
    from buildsys.steps.lib.files.tflite import File, Tensor

_PROGRAMS = (
    "common/figures.py",
    "common/pictures.py",
    "common/vision.py",
    "linux/benchmark.py",
    "linux/detect.py",
    "linux/network.py",
    "linux/requirements.txt",
)
STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.PACKAGE,
    needs=("verdict", "metrics", "calibration", "layouts"),
    templates=Templates(files=_PROGRAMS),
    unverified="Not verified: the package on the board itself; none was attached.",
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's name, and the facts that the programs need.

    `head`: as in ModelSpec; `outputs`: names of the head's outputs in the order of the file;
    `confidence`, `iou`: default thresholds of detect.py.
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
    """Return the parameters; the package is named after the recipe (and variant)."""
    return Params(
        stem=model.name,
        label=board.label,
        task=model.task,
        head=model.head,
        classes=model.classes,
        keypoints=model.keypoints,
        keypoint_dims=model.keypoint_dims,
        outputs=names_in_order(model, bound_order(board)),
        preprocessing=model.preprocessing,
        scheme=model.quantization.scheme,
        confidence=CONFIDENCE,
        iou=yolov8_decoding.IOU,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package. `inputs`: tflite, templates, metrics-*, calibration."""
    import hashlib
    import shutil

    from buildsys.steps.lib.files import tflite

    folder, name = outputs["package"], f"{params.stem}.tflite"
    write_companions(folder, params.classes, inputs)
    shutil.copyfile(inputs["tflite"], folder / name)
    for program in _PROGRAMS:
        shutil.copyfile(inputs["templates"] / program, folder / Path(program).name)
    sha256 = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    file = tflite.read(inputs["tflite"])
    facts = _facts(params, name, sha256) | _edges(file, params)
    for row, layout in zip(
        facts["outputs"], name_layouts(file, inputs.get("layouts")), strict=True
    ):
        if layout:
            row["layout"] = layout
    write_json(folder / "model.json", facts)
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
        outputs=tuple(map(_row, facts["outputs"])),
        strides=_strides(facts["outputs"], params),
    )
    (folder / "README.md").write_text(describe(described), encoding="utf-8")


def _strides(outputs: list[dict[str, Any]], params: Params) -> tuple[int, ...]:
    from buildsys.steps.lib.heads.formulas import find_strides

    frame = params.preprocessing
    sides = [side for tensor in outputs for side in tensor["shape"]]
    height, width = (frame.height, frame.width) if frame else (0, 0)
    return find_strides(sides, params.outputs, height, width)


def _facts(params: Params, name: str, sha256: str) -> dict[str, Any]:
    """Return model.json without the tensors: the facts that detect.py and benchmark.py read."""
    frame = params.preprocessing
    return {
        "file": name,
        "sha256": sha256,
        "task": params.task,
        "head": params.head if params.outputs else "none",
        "classes": list(params.classes),
        "keypoints": params.keypoints,
        "keypoint_dims": params.keypoint_dims,
        "preprocessing": None
        if frame is None
        else {"height": frame.height, "width": frame.width, "resize": frame.resize},
        "confidence": params.confidence,
        "iou": params.iou,
    }


def _edges(file: "File", params: Params) -> dict[str, Any]:
    """Return the tensors for model.json, in file order, with their meanings."""
    pictures = params.preprocessing is not None and len(file.inputs) == 1
    meaning = "one image, NHWC: red, green, blue, each 0..255 divided by 255" if pictures else ""
    names = _named(tuple(tensor.name for tensor in file.outputs), params.outputs)
    known = params.head if params.outputs else "none"
    return {
        "inputs": [_tensor(tensor, tensor.name, meaning) for tensor in file.inputs],
        "outputs": [
            _tensor(tensor, name, meanings.tell_output(known, params.task, name))
            for tensor, name in zip(file.outputs, names, strict=True)
        ],
    }


def _named(found: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the file's own names, or, if they differ from the network's, the network's names by
    order.
    """
    return wanted if set(found) != set(wanted) and len(found) == len(wanted) else found


def _tensor(tensor: "Tensor", name: str, meaning: str) -> dict[str, Any]:
    """Return a tensor for model.json. `scale`, `zero_point`: null for floats; else real = (value -
    zero_point) * scale.
    """
    scaled = bool(tensor.scales) and "int" in tensor.dtype
    return {
        "name": name,
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "scale": tensor.scales[0] if scaled else None,
        "zero_point": tensor.zero_points[0] if scaled else None,
        "meaning": meaning,
    }


def _row(tensor: dict[str, Any]) -> Row:
    return Row(
        name=tensor["name"],
        shape=tuple(tensor["shape"]),
        dtype=tensor["dtype"],
        meaning=tensor["meaning"],
    )
