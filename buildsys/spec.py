"""The vocabulary that both sides share: formats, quantization, tensors, models, boards.

Standard library only: step modules import it inside their tool environments.
"""

from dataclasses import dataclass
from enum import StrEnum


class Format(StrEnum):
    """What an artifact is; a step says which one it consumes and which one it produces."""

    DATASET = "dataset"
    CHECKPOINT = "checkpoint"
    ONNX = "onnx"
    SAVED_MODEL = "saved-model"
    TFLITE = "tflite"
    VELA = "vela-tflite"
    PICTURES = "pictures"
    METRICS = "metrics"
    VERDICT = "verdict"
    PACKAGE = "package"


TREES = frozenset({Format.DATASET, Format.SAVED_MODEL, Format.PICTURES, Format.PACKAGE})
SUFFIXES = {
    Format.CHECKPOINT: ".pt",
    Format.ONNX: ".onnx",
    Format.TFLITE: ".tflite",
    Format.VELA: ".tflite",
    Format.METRICS: ".json",
    Format.VERDICT: ".json",
}
SCHEMES = ("float32", "float16", "dynamic-range", "int8", "int16x8")
STRIDES = (8, 16, 32)
REG_MAX = 16
"""Bins of a box side's distribution in YOLOv8's head (Ultralytics `reg_max`)."""
MASK_CHANNELS, MASK_STRIDE = 32, 4
"""Mask prototypes of a segment head, and pixels a side of their cells (Ultralytics `nm`, `Proto`)."""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How numbers are stored: `scheme` one of SCHEMES; `granularity` of the weights; `io` dtype."""

    scheme: str
    granularity: str
    io: str


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The one contract between a photograph and the network's input, everywhere.

    `height`, `width` in pixels; `color` rgb; values divided by 255. `resize` letterbox: scaled by
    one factor, centred, padded with grey 114; center-crop: scaled by one factor to fill the frame,
    what stands over at two sides cut off.
    """

    height: int
    width: int
    color: str
    resize: str


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output: a name, a shape with the batch axis, a dtype where it is settled."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a step needs of the machine while it runs.

    `gpu`: it takes a whole GPU where there is one. `framework`: it loads torch or TensorFlow; as many of those run at once as there are pairs of
    cores.
    """

    memory_mib: int = 512
    threads: int = 1
    framework: bool = False
    gpu: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What the planner knows of the network whose files the steps turn into one another."""

    name: str
    """The recipe's (and variant's) name: what shipped files are called."""
    family: str
    task: str
    architecture: str
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing | None
    head: str
    """raw | decoded | none: what the outputs mean; `none` where nobody said."""
    outputs: tuple[TensorSpec, ...]
    quantization: Quantization
    trained: bool = True
    """False for random weights: such a network carries no signal that quantization could lose."""


@dataclass(frozen=True, kw_only=True)
class BoardSpec:
    """What a target declares, as far as steps need it."""

    name: str
    label: str
    firmware: str
    output_order: tuple[str, ...]
    """Names of the outputs in the order that the firmware wants; empty: any order."""
    operators: tuple[str, ...]
    """CPU operators that the firmware registers; empty: not known."""


def raw_outputs(
    height: int, width: int, classes: int, keypoints: int, keypoint_dims: int, task: str = ""
) -> tuple[TensorSpec, ...]:
    """The canonical raw head: per stride box logits and class logits, then what the task adds.

    Shapes float32: box [1, hw, 64], cls [1, hw, classes], keypoints [1, N, keypoints * dims], with
    hw = (height / stride) * (width / stride) and N the sum over strides 8, 16, 32. Segment:
    mask_coefficients [1, N, 32] and prototypes [1, height / 4, width / 4, 32]; obb: angles
    [1, N, 1], logits; classify: logits [1, classes] alone.
    """
    if task == "classify":
        return (TensorSpec(name="logits", shape=(1, classes)),)
    cells = {stride: (height // stride) * (width // stride) for stride in STRIDES}
    boxes = [
        TensorSpec(name=f"box_s{stride}", shape=(1, count, 4 * REG_MAX))
        for stride, count in cells.items()
    ]
    scores = [
        TensorSpec(name=f"cls_s{stride}", shape=(1, count, classes))
        for stride, count in cells.items()
    ]
    total, more = sum(cells.values()), []
    if keypoints:
        more = [TensorSpec(name="keypoints", shape=(1, total, keypoints * keypoint_dims))]
    if task == "obb":
        more = [TensorSpec(name="angles", shape=(1, total, 1))]
    if task == "segment":
        coefficients = TensorSpec(name="mask_coefficients", shape=(1, total, MASK_CHANNELS))
        more = [coefficients, _prototypes(height, width)]
    return (*boxes, *scores, *more)


def decoded_outputs(
    height: int, width: int, classes: int, keypoints: int, keypoint_dims: int, task: str = ""
) -> tuple[TensorSpec, ...]:
    """Ultralytics' own decoded head: detections [1, 4 + classes + more, N].

    More: keypoints * dims; for segment 32 mask coefficients, and the prototypes are an output of
    their own; for obb one angle. Classify: probabilities [1, classes] alone.
    """
    if task == "classify":
        return (TensorSpec(name="probabilities", shape=(1, classes)),)
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    more = {"obb": 1, "segment": MASK_CHANNELS}.get(task, keypoints * keypoint_dims)
    detections = TensorSpec(name="detections", shape=(1, 4 + classes + more, cells))
    return (detections, _prototypes(height, width)) if task == "segment" else (detections,)


def _prototypes(height: int, width: int) -> TensorSpec:
    shape = (1, height // MASK_STRIDE, width // MASK_STRIDE, MASK_CHANNELS)
    return TensorSpec(name="prototypes", shape=shape)
