"""The vocabulary that core and steps share: formats, quantization, tensors, models, boards.

Standard library only: step modules import it inside their tool environments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal


class Format(StrEnum):
    """The kinds of artifacts; a step declares which kinds it consumes and produces."""

    DATASET = "dataset"
    CHECKPOINT = "checkpoint"
    TRAINING = "training"
    ONNX = "onnx"
    SAVED_MODEL = "saved-model"
    TFLITE = "tflite"
    VELA = "vela-tflite"
    QUANTIZED_ONNX = "quantized-onnx"
    CALIBRATION_CACHE = "calibration-cache"
    ENGINE = "engine"
    PICTURES = "pictures"
    METRICS = "metrics"
    CURVES = "curves"
    VERDICT = "verdict"
    PACKAGE = "package"
    EVIDENCE = "evidence"
    RECORDING = "recording"
    DRAWINGS = "drawings"
    LATENCY = "latency"


class Intermediate(StrEnum):
    """What one step hands to another, and nothing ships: a network that torch has traced, and the TFLite
    file that a converter made of it, in float32.

    Apart from `Format`, all of which counts in the code digest of steps that name a member.
    """

    PROGRAM = "program"
    FLOAT_TFLITE = "float-tflite"


AnyFormat = Format | Intermediate
INTERMEDIATE_SUFFIXES = {Intermediate.PROGRAM: ".pt2", Intermediate.FLOAT_TFLITE: ".tflite"}
TREES = frozenset(
    {
        Format.DATASET,
        Format.TRAINING,
        Format.SAVED_MODEL,
        Format.PICTURES,
        Format.PACKAGE,
        Format.DRAWINGS,
    }
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
    Format.CURVES: ".json",
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
"""Formats of model files, the last of a pipeline first."""
READ_AS: dict[str, Format] = {Format.QUANTIZED_ONNX: Format.ONNX}
"""Formats with the same kind of file: a program that reads one reads the other."""
MADE_FROM: dict[str, tuple[Format, ...]] = {
    Format.VELA: (Format.TFLITE,),
    Format.ENGINE: (Format.QUANTIZED_ONNX, Format.ONNX),
}
"""Formats that only a device runs, and the format that they were compiled from, which runs here."""
SCHEMES = ("float32", "float16", "dynamic-range", "int8", "int16x8")
STRIDES = (8, 16, 32)
STRIDE_SETS = (STRIDES, (4, *STRIDES), (*STRIDES, 64))
"""Strides of a network's grids; nearly all have the first set, and those for small objects or large
images one grid more.
"""
GRID = max(STRIDES)
"""Pixels; the sides of an input are multiples of it."""
METRICS = {
    "detect": ("box.mAP50", "box.mAP50-95"),
    "pose": ("box.mAP50", "box.mAP50-95", "keypoints.mAP50", "keypoints.mAP50-95"),
    "segment": ("box.mAP50", "box.mAP50-95", "masks.mAP50", "masks.mAP50-95"),
    "obb": ("obb.mAP50", "obb.mAP50-95"),
    "classify": ("top1", "top5"),
}
"""Metrics by task, of all classes together; the headlines also of each class."""
HEADLINES = {
    "box.mAP50-95": "box mAP50-95",
    "keypoints.mAP50-95": "kpt mAP50-95",
    "masks.mAP50-95": "mask mAP50-95",
    "obb.mAP50-95": "obb mAP50-95",
    "top1": "top-1",
}
"""The main metrics, and their names in a column of a table."""
SIZES = ("bytes", "sram_bytes")
"""Figures of every file: its size, and the SRAM that Vela plans for it (with Dedicated_Sram the cache,
not the arena in DRAM).
"""


def classes_without_objects(metrics: Mapping[str, float | None]) -> tuple[str, ...]:
    """Return the classes whose metrics are all None: the measured split has no objects of them.

    If only those of keypoints are, the objects have no labelled keypoint.
    """
    heads = [f"{headline}." for headline in HEADLINES]
    pairs = [(name, head) for name in sorted(metrics) for head in heads if name.startswith(head)]
    measured = {name.removeprefix(head) for name, head in pairs if metrics[name] is not None}
    every = dict.fromkeys(name.removeprefix(head) for name, head in pairs)
    return tuple(name for name in every if name not in measured)


PAD_GREY = 114
"""Ultralytics' letterbox colour, which surrounded the images in training."""
REG_MAX = 16
"""Bins of a box side's distribution in YOLOv8's head (Ultralytics `reg_max`)."""
MASK_CHANNELS, MASK_STRIDE = 32, 4
"""Mask prototypes of a segment head, and pixels a side of their cells (Ultralytics `nm`,
`Proto`).
"""


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """How numbers are stored: `scheme` one of SCHEMES; `granularity` of the weights; `io` dtype.

    `unquantized`: the precision, float16 or float32, of those parts of an engine's int8 network
    that are not int8.
    """

    scheme: str
    granularity: str
    io: str
    unquantized: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The one contract between a photograph and the network's input.

    `height`, `width` in pixels; `color` rgb; values divided by 255. `resize` letterbox: scaled by
    one factor, centred, padded with grey 114; center-crop: scaled by one factor to fill the frame,
    with antialiasing, the excess cut off at two sides.
    """

    height: int
    width: int
    color: str
    resize: str


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output: a name, a shape with the batch axis, a dtype where it is fixed."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a step needs of the machine while it runs.

    `gpu`: it takes a whole GPU if there is one. `alone`: it measures time; no other step runs
    beside it.
    """

    memory_mib: int = 512
    threads: int = 1
    gpu: bool = False
    alone: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Facts about the network whose files the steps convert."""

    name: str
    """The name of the recipe (and variant), which names the shipped files."""
    family: str
    task: str
    architecture: str
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    preprocessing: Preprocessing | None
    head: str
    """One of `steps.lib.heads.outputs.HEADS`: the meaning of the outputs; none: unknown."""
    outputs: tuple[TensorSpec, ...]
    """Those of the head in its order; in the order of a given file."""
    quantization: Quantization
    trained: bool = True
    """False for random weights: quantization cannot be checked on a network without a signal."""
    converter: str = "onnx2tf"
    """The converter of the network: `convert.tool`, also the name of a tool environment.
    """
    batch: tuple[int, int, int] = (1, 1, 1)
    """Images at once: (min, opt, max), see `steps.lib.heads.batch`; `outputs` has the shapes for
    one.
    """


@dataclass(frozen=True, kw_only=True)
class OutputFormula:
    """An output whose axes are formulas, see `steps.lib.heads.formulas`."""

    name: str
    shape: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ContractSpec:
    """A firmware contract, as far as a model file can be checked against it.

    `outputs` empty: any, of any type. `in_order`: the firmware reads them by position, otherwise by
    shape. `classes`, `keypoint_values`, `keypoint_dims`: 0 for any number. `input_scale` 0: any.
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
    """What to change where a file's outputs differ."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Where a firmware looks for its model, all in bytes of flash.

    `size`: the available room; `alignment`: of the address and of an erased block; `lowest`: the
    first address after the firmware.
    """

    address: int
    size: int
    alignment: int
    lowest: int


@dataclass(frozen=True, kw_only=True)
class FlashSpec:
    """How a file is written to the board.

    `method` xmodem or esptool; `chip` in esptool's notation, otherwise ""; `baud` of the serial
    line; `app`: the vendor's name of the firmware; only `sscma` takes the labels by AT commands.
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
    """Names of the outputs in the firmware's order; empty: any order."""
    operators: tuple[str, ...]
    """CPU operators that the firmware registers; empty: unknown."""
    contract: ContractSpec | None = None
    accelerator: str = ""
    """The NPU that the model is compiled for, by Vela's name; empty: none."""
    weakly_typed: bool = False
    """Whether flags of the builder, not the file, decide which precisions its engines may use."""
    slot: Slot | None = None
    flash: FlashSpec | None = None
    algorithm: str = ""
    """The algorithm that AT+INFO reports; empty: the one that the vendor's web tool reports."""
    verified: bool = True
    notes: tuple[str, ...] = ()
    source: str = ""
    """Notes of the firmware contract, with their source."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFacts:
    """The content of a checkpoint's pickle: the task of its head, classes and keypoints."""

    task: str
    names: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    architecture: str = ""
    """The architecture in the notation of recipes, "yolov8n-pose"; empty if unknown."""
    size: int = 0
    """Side of its training images in pixels; 0 if unknown."""
    problem: tuple[str, str] | None = None
    """Why no step supports this network, and what to do; None if steps do."""


def _no_facts(path: Path) -> CheckpointFacts | None:
    return None


def _usual_strides(architecture: str) -> tuple[int, ...]:
    return STRIDES


@dataclass(frozen=True, kw_only=True)
class SettingProblem:
    """A mistake in a step's settings.

    `key`: below their block; `known`: words of which one may be meant by `word`; `at_key`: the key
    is wrong, not its value.
    """

    key: tuple[str, ...]
    message: str
    hint: str = ""
    known: tuple[str, ...] = ()
    word: str = ""
    at_key: bool = False


def _no_architecture_problem(architecture: str) -> tuple[str, str] | None:
    return None


def _one_branch(architecture: str) -> tuple[str, ...]:
    return ("one-to-many",)


def _no_training_problem(architecture: str, train: Mapping[str, object]) -> SettingProblem | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Family:
    """Everything about a family that recipes, checks and plans need."""

    heads: tuple[tuple[str, str], ...]
    """(value of `export.head`, name in `outputs.HEADS`), the default first; empty: no decoder."""
    decoders: tuple[tuple[str, str], ...]
    """(word of `source.decoder`, head) for files of such networks that were exported elsewhere."""
    architectures: str
    """Regular expression for `source.architecture`."""
    examples: tuple[tuple[str, str], ...]
    """(task, a small architecture) for every task."""
    task_of: Callable[[str], str]
    """Returns the task of an architecture, by its name."""
    suffixes: tuple[str, ...]
    """Endings of its checkpoints' names."""
    listed: tuple[str, ...] = ()
    """Every architecture, or the usual ones if there are too many; suggestions come from these."""
    strides: Callable[[str], tuple[int, ...]] = _usual_strides
    """Returns the strides of an architecture."""
    heads_of: Callable[[str], tuple[tuple[str, str], ...]] | None = None
    """Returns the heads of an architecture, where not all have `heads`."""
    head_tasks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """(value of `export.head`, tasks) for heads that are exported for some tasks only."""
    branches_of: Callable[[str], tuple[str, ...]] = _one_branch
    """Returns the branches of an architecture's head (`steps.lib.heads.branches`), the default
    first.
    """
    training_problem: Callable[[str, Mapping[str, object]], SettingProblem | None] = (
        _no_training_problem
    )
    """(architecture, `train` block) -> settings that this network cannot be trained with."""
    architecture_problem: Callable[[str], tuple[str, str] | None] = _no_architecture_problem
    """Returns why no step supports a network of the family, and what to do; None if steps do."""
    sizes: str = ""
    """How its architectures differ, in a few words, where `listed` does not show it."""
    side: int = 640
    """Default size of the images in pixels: the size that its authors trained on."""
    sides: tuple[tuple[str, int], ...] = (("classify", 224),)
    """(task, default size) for tasks whose networks were trained on another size."""
    branched: tuple[str, ...] = ()
    """Tasks whose checkpoints can also start the training of a detect network."""
    nameless: bool = False
    """Whether its checkpoints lack the names of their network and classes."""
    pixels: str = ""
    """The preprocessing of files that were exported elsewhere, if it is not RGB 0..1."""
    licence: str = ""
    """Texts of packages about models that were made with the tool."""
    holds_objects: bool = False
    """Whether its checkpoints contain networks as objects, which run code when loaded, or tensors
    alone.
    """
    read_checkpoint: Callable[[Path], CheckpointFacts | None] = _no_facts
    """Returns the facts of a file, without running anything in it; None if it has none that are
    known.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return the tasks of its networks."""
        return tuple(task for task, _ in self.examples)

    def heads_for(self, architecture: str) -> dict[str, str]:
        """Return {word of `export.head`: head} of an architecture."""
        return dict(self.heads if self.heads_of is None else self.heads_of(architecture))

    def side_for(self, task: str) -> int:
        """Return the default size of the images of a task's networks, in pixels."""
        return dict(self.sides).get(task, self.side)

    def tasks_of_head(self, word: str) -> tuple[str, ...]:
        """Return the tasks whose networks are exported with a value of `export.head`."""
        return dict(self.head_tasks).get(word, self.tasks)


@dataclass(frozen=True, kw_only=True)
class ExpectedFacts:
    """Facts of a generated dataset, or of a network with random weights, before it exists."""

    names: tuple[str, ...]
    keypoints: int = 0
    keypoint_dims: int = 0
    sigmas: tuple[float, ...] = ()
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """For a dataset: name -> folders of its images."""
    flip: tuple[int, ...] = ()
    """For a dataset: which keypoint is which in a mirror image."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """Files of `buildsys/templates` that a step ships or runs unchanged, below `folder`."""

    folder: str = ""
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """What the planner, the checks and the runner need of a step without running it.

    A field that depends on the parameters can be a function of them. Nothing here is part of the
    step's code digest: its effects are part of the plan.
    """

    tool_env: str | Callable[[Any], str] = ""
    """The tool environment that the step runs in; empty: the Python that runs buildsys."""
    consumes: tuple[AnyFormat, ...] = ()
    """Formats of the model file (or dataset) that it takes; any one of them is enough."""
    produces: AnyFormat | None = None
    """The format that it makes; None if the planner names its outputs."""
    also_produces: tuple[str, ...] = ()
    """Further outputs by name; a tree if the name is a format of `TREES`, otherwise a file."""
    needs: tuple[str, ...] = ()
    """Further inputs, where the build has them; `verdict` and `metrics` stand for all of a kind."""
    stage: str = ""
    """Its name in messages; empty: the verb of its file's name."""
    block: str = ""
    """The recipe's or target's block with its settings."""
    resources: Resources | Callable[[Any], Resources] = Resources()
    """Memory, threads and GPU that it takes while it runs."""
    requires: str | Callable[[Any], str] = ""
    """What it requires of the host (a program, a GPU's library); without it, the step waits."""
    local: bool = False
    """Whether its result is only true of the machine that it ran on; the manifest leaves it out."""
    trains: bool = False
    """Whether it trains: results are recorded in buildsys.lock, and a killed run continues."""
    fetches: bool = False
    """Whether it uses the network; `buildsys sync` runs it ahead of time."""
    templates: Templates | None = None
    """Files of `buildsys/templates` that it gets as the input `templates`."""
    check_settings: Callable[[Any, str], Sequence[SettingProblem]] | None = None
    """(settings, task of the network) -> what is wrong with them beside the types of single values.
    """
    dataset_format: Literal["ultralytics", "coco"] = "ultralytics"
    """The layout of the dataset that a training reads."""
    tasks: tuple[str, ...] = ()
    """For a generator: the tasks that it has labels for."""
    facts: Callable[[str], ExpectedFacts] | None = None
    """For a generator or random weights: task -> facts that are known before they exist."""
    family: Family | None = None
    """For an export: the model family whose checkpoints it reads."""
    unverified: str = ""
    """A sentence for the manifest: what could not be verified about its result."""


def status_text(status: str, proved: bool, as_locked: bool = True) -> str:
    """Return a build's status for people.

    `as_locked`: it matches buildsys.lock; `proved`: something measured or judged its package.
    """
    text = status if as_locked else f"{status}, differs from lock"
    return text if proved else f"{text}, not verified"
