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
    QUANTIZED_ONNX = "quantized-onnx"
    CALIBRATION_CACHE = "calibration-cache"
    ENGINE = "engine"
    PICTURES = "pictures"
    METRICS = "metrics"
    VERDICT = "verdict"
    PACKAGE = "package"
    EVIDENCE = "evidence"
    RECORDING = "recording"
    DRAWINGS = "drawings"
    LATENCY = "latency"


TREES = frozenset(
    {Format.DATASET, Format.SAVED_MODEL, Format.PICTURES, Format.PACKAGE, Format.DRAWINGS}
)
SUFFIXES = {
    Format.CHECKPOINT: ".pt",
    Format.ONNX: ".onnx",
    Format.TFLITE: ".tflite",
    Format.VELA: ".tflite",
    Format.QUANTIZED_ONNX: ".onnx",
    Format.ENGINE: ".engine",
    Format.CALIBRATION_CACHE: ".cache",
    Format.METRICS: ".json",
    Format.VERDICT: ".json",
    Format.EVIDENCE: ".json",
    Format.RECORDING: ".npz",
    Format.LATENCY: ".json",
}
MODELS = (
    Format.ENGINE,
    Format.QUANTIZED_ONNX,
    Format.VELA,
    Format.TFLITE,
    Format.SAVED_MODEL,
    Format.ONNX,
    Format.CHECKPOINT,
)
"""Model files, the last of a pipeline first."""
READ_AS: dict[str, Format] = {Format.QUANTIZED_ONNX: Format.ONNX}
"""Formats of the same kind of file: whatever reads the one reads the other."""
MADE_FROM: dict[str, tuple[Format, ...]] = {
    Format.VELA: (Format.TFLITE,),
    Format.ENGINE: (Format.QUANTIZED_ONNX, Format.ONNX),
}
"""Files that only a device runs, and what they were compiled from, which runs here."""
SCHEMES = ("float32", "float16", "dynamic-range", "int8", "int16x8")
STRIDES = (8, 16, 32)
PAD_GREY = 114
"""Ultralytics' letterbox colour: what the network saw around its pictures in training."""
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
    cores. `alone`: it measures time; no other step runs beside it.
    """

    memory_mib: int = 512
    threads: int = 1
    framework: bool = False
    gpu: bool = False
    alone: bool = False


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
    """One of `steps.lib.heads.outputs.HEADS`: what the outputs mean; none: nobody said."""
    outputs: tuple[TensorSpec, ...]
    quantization: Quantization
    trained: bool = True
    """False for random weights: such a network carries no signal that quantization could lose."""
    converter: str = "onnx2tf"
    """What turns ONNX into a SavedModel: `convert.tool`, the name of a tool environment, too."""
    batch: tuple[int, int, int] = (1, 1, 1)
    """Pictures at once: (min, opt, max), see `steps.lib.heads.batch`; `outputs` has the shapes for one."""


@dataclass(frozen=True, kw_only=True)
class OutputFormula:
    """An output whose axes are formulas, see `steps.lib.heads.formulas`."""

    name: str
    shape: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ContractSpec:
    """A firmware contract, as far as a model file can be held against it.

    `outputs` empty: any. `in_order`: the firmware reads them by position, else by shape. `classes`,
    `keypoint_values`, `keypoint_dims`: 0 where any number will do. `input_scale` 0: any.
    """

    name: str
    label: str
    outputs: tuple[OutputFormula, ...]
    in_order: bool
    dtype: str
    """Of the outputs."""
    granularity: str
    classes: int
    refused_classes: tuple[int, ...]
    keypoint_values: int
    keypoint_dims: int
    input_dtype: str
    input_scale: float
    input_zero_point: int
    square: bool
    cure: str
    """What to change where a file's outputs are others."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a firmware looks for its model, all in bytes of flash.

    `size`: how much there is room for; `alignment`: of the address, and of what one erase takes;
    `lowest`: the first address that is not the firmware's own.
    """

    address: int
    size: int
    alignment: int
    lowest: int


@dataclass(frozen=True, kw_only=True)
class FlashSpec:
    """How a file comes onto the board.

    `method` xmodem or esptool; `chip` in esptool's words, else ""; `baud` of the serial line; `app`
    what the vendor calls the firmware: `sscma` takes the labels by AT commands, others do not.
    """

    method: str
    chip: str
    baud: int
    app: str


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
    contract: ContractSpec | None = None
    accelerator: str = ""
    """The NPU that the model is compiled for, as Vela names it; empty: none."""
    slot: Slot | None = None
    flash: FlashSpec | None = None
    algorithm: str = ""
    """What AT+INFO calls the algorithm; empty: what the vendor's web tool says."""
    verified: bool = True
    notes: tuple[str, ...] = ()
    source: str = ""
    """Of the firmware contract, with where it was read."""
