"""What a report says of one file's proofs, as values: accuracy, latency, memory, the ladder, sights.

Part of report.json (see `values`). Digests are sha256 in hexadecimal, sizes bytes, times
milliseconds.
"""

from dataclasses import dataclass

LABELS = ("estimated", "measured here", "measured on a device")
"""Of latency, from the weakest to the strongest; never in one column."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy of one file. `name`: checkpoint, onnx, quantized-onnx, tflite, engine or start;
    `sha256`: the file's; `device`: what ran it, where that is not any machine's CPU.
    """

    name: str
    sha256: str
    split: str
    pictures: int
    objects: int
    metrics: tuple[tuple[str, float], ...]
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One figure with what it is a figure of. `earlier`: not of the file that ships now; `batch`:
    pictures of one inference, 0 where nobody said.
    """

    label: str
    engine: str
    device: str = ""
    threads: int = 0
    runs: int = 0
    warmup: int = 0
    mean_ms: float
    min_ms: float | None = None
    max_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    sha256: str
    format: str = ""
    what: str = ""
    version: str = ""
    note: str = ""
    earlier: bool = False
    batch: int = 0


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bytes needed of bytes there are; `name`: arena or flash; `by`: who told the need."""

    name: str
    need_bytes: int
    has_bytes: int | None
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Output:
    """How far one output is from the rung before; `passed`: None where no limit is set."""

    name: str
    kind: str
    figure: str
    value: float | None
    limit: float | None
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """Two neighbours of the ladder, compared. `passed`: None where no output has a limit."""

    start: str
    end: str
    passed: bool | None
    outputs: tuple[Output, ...]
    detections: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """From the checkpoint to the firmware's decoder. `passed`: None where nothing was judged."""

    passed: bool | None
    pictures: int
    rungs: tuple[Rung, ...]
    first_failing: str
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """What one form of the network sees on a photograph.

    `form`: checkpoint, onnx, float-tflite, tflite, shipped-onnx; `drawing`: a file's name; `best`:
    (class, highest score) of every class that scores at all.
    """

    form: str
    drawing: str
    objects: int
    best: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One photograph as the forms of a network see it, from the first to the one that ships."""

    name: str
    views: tuple[View, ...]
