"""The recipe language: what a person writes, as frozen values."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictStr

from buildsys.authoring.datasets.blocks import ClassName, Dataset
from buildsys.authoring.recipes.families import decoders, source_names
from buildsys.authoring.syntax.validation import Block
from buildsys.authoring.syntax.values import NAME, Count, Scheme, Seed, Sha256, Share, Task
from buildsys.registry import converters
from buildsys.spec import GRID

if TYPE_CHECKING:
    Family = str
    Decoder = str
    Converter = str
else:  # step modules define the possible values
    Family, Decoder = Literal[source_names()], Literal[tuple(decoders())]
    Converter = Literal[converters()]
TARGET_BLOCKS = ("vela", "tensorrt")
"""Blocks of a target that its entry in a recipe may change."""
CALIBRATED = ("int8", "int16x8")
"""Schemes that need a representative dataset."""
USUAL_COUNT = 100
"""Images that calibrate, if there are as many."""


def _weights(value: object) -> object:
    if isinstance(value, str):
        if value != "random":
            raise ValueError(
                f'`weights` cannot be "{value}"; write {{path: …, sha256: …}},'
                " {url: …, sha256: …} or the word random"
            )
        return {"random": True}
    return value


class Weights(Block):
    """The start weights: a file, a remote file, or random numbers."""

    path: StrictStr | None = None
    url: StrictStr | None = None
    sha256: Sha256 | None = None
    random: StrictBool = False


class Pixels(Block):
    """The pixel format of a given ONNX file; a conversion is added if it is not RGB 0..1."""

    color: Literal["rgb", "bgr"] = "rgb"
    values: Literal["0..1", "0..255"] = "0..1"


class SourceModel(Block):
    """The `source` block."""

    family: Family
    task: Task | None = None
    architecture: StrictStr | None = None
    weights: Annotated[Weights, BeforeValidator(_weights)]
    trust: Literal["code"] | None = None
    decoder: Decoder = "none"
    classes: tuple[ClassName, ...] = ()
    pixels: Pixels | None = None


LARGEST_SIDE = 8192
"""Pixels of a side of the network's input."""


def _size(value: object) -> object:
    sides = [value, value] if isinstance(value, int) and not isinstance(value, bool) else value
    if not (
        isinstance(sides, list | tuple)
        and len(sides) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    ):
        raise ValueError(f"`size` must be a number or [height, width], in multiples of {GRID}")
    for side in sides:
        if side < GRID or side % GRID:
            near = max(GRID, round(side / GRID) * GRID)
            raise ValueError(f"`size` {side} is not a multiple of {GRID}; the nearest is {near}")
        if side > LARGEST_SIDE:
            raise ValueError(f"`size` {side} is more than {LARGEST_SIDE} pixels")
    return tuple(sides)


Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class InputBlock(Block):
    """The `input` block: the one preprocessing contract.

    Default of `resize`: center-crop to classify, letterbox for every other task.
    """

    size: Size
    color: Literal["rgb"] = "rgb"
    resize: Literal["letterbox", "center-crop"] | None = None


class Calibration(Block):
    """The `quantization.calibration` block: a split of the dataset, or images without labels."""

    split: StrictStr | None = None
    images: StrictStr | None = None
    count: Count
    seed: Seed = 0


class QuantizationBlock(Block):
    """The `quantization` block."""

    scheme: Scheme = "float32"
    granularity: Literal["per-tensor", "per-channel"] | None = None
    io: Literal["int8", "float32"] | None = None
    unquantized: Literal["float16", "float32"] | None = None
    calibration: Calibration | None = None


class Gate(Block):
    """A threshold on one metric: absolute, or the drop against the checkpoint or source file."""

    min: Share | None = None
    max_drop: Share | None = None


def _evaluate(value: object) -> object:
    return {"measure": False} if value == "none" else value


class Evaluate(Block):
    """The `evaluate` block; the word `none` for no measurement."""

    measure: StrictBool = True
    split: StrictStr = "val"
    gates: dict[str, Gate] = {}


class Benchmark(Block):
    """The `benchmark` block: latency on the machine that builds; not part of any other step's
    key.
    """

    ELSEWHERE: ClassVar[dict[str, str]] = {
        "against": "to compare builds, run `buildsys compare BUILD BUILD...`"
    }

    threads: Count = 1
    runs: Annotated[int, Field(strict=True, ge=1, le=10000)] = 50
    warmup: Annotated[int, Field(strict=True, ge=0, le=1000)] = 5


class Convert(Block):
    """The `convert` block: the converter, where a pipeline makes TFLite or a SavedModel."""

    tool: Converter = "onnx2tf"


class Select(Block):
    """The `select` block: the figure that decides which variant ships."""

    maximize: StrictStr | None = None
    minimize: StrictStr | None = None

    @property
    def metric(self) -> str:
        """Return the figure's name: a metric, `bytes` or `sram_bytes`."""
        return self.maximize or self.minimize or ""


class Recipe(Block):
    """One recipe, merged with its base, one variant and one target entry.

    `train` and `export` contain the settings of the step modules that the source's family chooses;
    they are checked against those (see `recipes.loader`). `vela` and `tensorrt` are the target's
    own.
    """

    ELSEWHERE: ClassVar[dict[str, str]] = dict.fromkeys(
        TARGET_BLOCKS, "write it in the target's entry"
    )
    BESIDE: ClassVar[tuple[str, ...]] = ("extends", "targets", "matrix", "select")

    name: Annotated[StrictStr, Field(pattern=f"^{NAME}$")]
    source: SourceModel
    dataset: Dataset | None = None
    input: InputBlock | None = None
    train: dict[str, object] | None = None
    export: dict[str, object] | None = None
    convert: Convert = Convert()
    quantization: QuantizationBlock = QuantizationBlock()
    evaluate: Annotated[Evaluate, BeforeValidator(_evaluate)] = Evaluate()
    benchmark: Benchmark | None = None
    firmware: StrictStr | None = None


class TargetEntry(Block):
    """One entry of `targets`: a target, the name of the build, and overrides of recipe blocks."""

    target: StrictStr
    as_: Annotated[StrictStr, Field(pattern=f"^{NAME}$")] | None = Field(default=None, alias="as")
    firmware: object = None
    input: object = None
    export: object = None
    convert: object = None
    quantization: object = None
    evaluate: object = None
    benchmark: object = None
    vela: object = None
    tensorrt: object = None
