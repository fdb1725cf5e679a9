"""The recipe language: what a person writes, as frozen values."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr

from buildsys.authoring.families import decoders, source_names
from buildsys.authoring.registry import converters
from buildsys.authoring.validation import Block
from buildsys.spec import SCHEMES

Share = Annotated[float, Field(strict=True, ge=0, le=1)]
"""A metric or a difference of two: 0.4, not 40."""
Count = Annotated[int, Field(strict=True, ge=1)]
Seed = Annotated[int, Field(strict=True, ge=0)]
NAME = r"[a-z0-9][a-z0-9-]*"

if TYPE_CHECKING:
    Family = str
    Decoder = str
    Converter = str
else:  # what there is: step modules say so
    Family, Decoder = Literal[source_names()], Literal[tuple(decoders())]
    Converter = Literal[converters()]
Task = Literal["detect", "segment", "classify", "pose", "obb"]
Scheme = Literal["float32", "float16", "dynamic-range", "int8", "int16x8"]
assert set(SCHEMES) == set(Scheme.__args__)  # type: ignore[attr-defined]

OWN_BLOCKS = ("vela", "tensorrt")
"""Blocks of a target that its entry in a recipe may change."""
CALIBRATED = ("int8", "int16x8")
"""Schemes that need a representative dataset."""


def _weights(value: Any) -> Any:
    if isinstance(value, str):
        if value != "random":
            raise ValueError(
                f'`weights` cannot be "{value}"; write {{path: …, sha256: …}},'
                " {url: …, sha256: …} or the word random"
            )
        return {"random": True}
    return value


def _digest(value: str) -> str:
    if len(value) != 64:
        raise ValueError(f"a sha256 is 64 hexadecimal digits, not {len(value)} characters")
    wrong = sorted(set(value) - set("0123456789abcdef"))
    if wrong:
        raise ValueError(f"a sha256 is 64 hexadecimal digits; `{wrong[0]}` is none of 0-9, a-f")
    return value


Sha256 = Annotated[StrictStr, AfterValidator(_digest)]


class Weights(Block):
    """Where a model starts: a file, a remote file, or random numbers."""

    path: StrictStr | None = None
    url: StrictStr | None = None
    sha256: Sha256 | None = None
    random: StrictBool = False


class Pixels(Block):
    """What a given ONNX file takes: a converter of pixels is put in front where it is not RGB 0..1."""

    color: Literal["rgb", "bgr"] = "rgb"
    values: Literal["0..1", "0..255"] = "0..1"


class SourceModel(Block):
    """The `source` block."""

    family: Family
    task: Task | None = None
    architecture: StrictStr | None = None
    weights: Annotated[Weights, BeforeValidator(_weights)]
    decoder: Decoder = "none"
    classes: tuple[StrictStr, ...] = ()
    pixels: Pixels | None = None


class Split(Block):
    """The `dataset.split` block: shares of the pictures that become the val and test splits."""

    val: Annotated[float, Field(strict=True, gt=0, lt=1)]
    test: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    seed: Seed = 0


class CocoSheet(Block):
    """One split of a dataset in COCO format: its annotation file, and the folder of its pictures."""

    annotations: StrictStr
    images: StrictStr


class CocoSplits(Block):
    """The `dataset.splits` block; each split with files of its own."""

    train: CocoSheet | None = None
    val: CocoSheet | None = None
    test: CocoSheet | None = None

    @property
    def given(self) -> tuple[tuple[str, CocoSheet], ...]:
        """Those that are there, by name."""
        sheets = ((name, getattr(self, name)) for name in ("train", "val", "test"))
        return tuple((name, sheet) for name, sheet in sheets if sheet is not None)


class Dataset(Block):
    """The `dataset` block; a generator's own settings stand beside `generator`.

    With `url` the dataset comes in an archive, and `path` is its data.yaml inside, or `splits` are
    paths inside.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    format: Literal["ultralytics", "coco"] | None = None
    path: StrictStr | None = None
    splits: CocoSplits | None = None
    url: StrictStr | None = None
    sha256: Sha256 | None = None
    split: Split | None = None
    generator: StrictStr | None = None

    @property
    def label(self) -> str:
        """What buildsys.lock and messages call it: its file, its address, its annotation files."""
        files = (
            [f"{n} {s.annotations} {s.images}" for n, s in self.splits.given] if self.splits else []
        )
        return "; ".join([*filter(None, [self.url or self.path]), *files])


LARGEST_SIDE = 8192
"""Of a network's input, in pixels."""


def _size(value: Any) -> Any:
    sides = [value, value] if isinstance(value, int) and not isinstance(value, bool) else value
    if not (
        isinstance(sides, list | tuple)
        and len(sides) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    ):
        raise ValueError("`size` is a number or [height, width]; each a multiple of 32")
    for side in sides:
        if side < 32 or side % 32:
            near = max(32, round(side / 32) * 32)
            raise ValueError(f"`size` {side} is not a multiple of 32; the nearest is {near}")
        if side > LARGEST_SIDE:
            raise ValueError(f"`size` {side} is more than {LARGEST_SIDE} pixels")
    return tuple(sides)


Size = Annotated[tuple[int, int], BeforeValidator(_size)]


class InputBlock(Block):
    """The `input` block: the one preprocessing contract.

    `resize` without a word: center-crop to classify, letterbox for every other task.
    """

    size: Size
    color: Literal["rgb"] = "rgb"
    resize: Literal["letterbox", "center-crop"] | None = None


class Calibration(Block):
    """The `quantization.calibration` block: a split of the dataset, or pictures without labels."""

    split: StrictStr | None = None
    images: StrictStr | None = None
    count: Count
    seed: Seed = 0


class QuantizationBlock(Block):
    """The `quantization` block."""

    scheme: Scheme = "float32"
    granularity: Literal["per-tensor", "per-channel"] | None = None
    io: Literal["int8", "float32"] | None = None
    calibration: Calibration | None = None


class Gate(Block):
    """A threshold on one metric: absolute, or the drop against the checkpoint or source file."""

    min: Share | None = None
    max_drop: Share | None = None


def _evaluate(value: Any) -> Any:
    return {"measure": False} if value == "none" else value


class Evaluate(Block):
    """The `evaluate` block; the word `none` for no measurement."""

    measure: StrictBool = True
    split: StrictStr = "val"
    gates: dict[str, Gate] = {}


class Benchmark(Block):
    """The `benchmark` block: latency on the machine that builds; in no other step's key.

    `against`: ids of builds, or patterns, whose files are timed together with this one's, one run
    of each in turn.
    """

    threads: Count = 1
    runs: Annotated[int, Field(strict=True, ge=1, le=10000)] = 50
    warmup: Annotated[int, Field(strict=True, ge=0, le=1000)] = 5
    against: tuple[StrictStr, ...] = ()


class Convert(Block):
    """The `convert` block: which converter, where a pipeline goes through TensorFlow."""

    tool: Converter = "onnx2tf"


class Select(Block):
    """The `select` block: the figure that decides which variant ships."""

    maximize: StrictStr | None = None
    minimize: StrictStr | None = None

    @property
    def metric(self) -> str:
        """The figure's name: a metric, `bytes` or `sram_bytes`."""
        return self.maximize or self.minimize or ""


class Recipe(Block):
    """One recipe, with the overrides of its base, one variant and one target entry already merged in.

    `train` and `export` hold the settings of the step modules that the source's family chooses;
    they are checked against those (see `authoring.builds`). `vela` and `tensorrt` are the target's own.
    """

    ELSEWHERE: ClassVar[dict[str, str]] = dict.fromkeys(
        OWN_BLOCKS, "write it in the target's entry"
    )

    name: Annotated[StrictStr, Field(pattern=f"^{NAME}$")]
    source: SourceModel
    dataset: Dataset | None = None
    input: InputBlock | None = None
    train: dict[str, Any] | None = None
    export: dict[str, Any] | None = None
    convert: Convert = Convert()
    quantization: QuantizationBlock = QuantizationBlock()
    evaluate: Annotated[Evaluate, BeforeValidator(_evaluate)] = Evaluate()
    benchmark: Benchmark | None = None
    firmware: StrictStr | None = None


class TargetEntry(Block):
    """One entry of `targets`: a target, the name of the build, and overrides of recipe blocks."""

    target: StrictStr
    as_: Annotated[StrictStr, Field(pattern=f"^{NAME}$")] | None = Field(default=None, alias="as")
    firmware: Any = None
    input: Any = None
    export: Any = None
    convert: Any = None
    quantization: Any = None
    evaluate: Any = None
    benchmark: Any = None
    vela: Any = None
    tensorrt: Any = None
