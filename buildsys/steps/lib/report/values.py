"""The report as values: the core collects them, a step renders them; between them it is report.json.

Digests are sha256 in hexadecimal, sizes bytes, times milliseconds. An empty text or tuple means that
nothing is known.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from buildsys.spec import HEADLINES, status_text

LABELS = ("estimated", "measured here", "measured on a device")
"""Of latency, from the weakest to the strongest; never in one column."""
Metrics = tuple[tuple[str, float], ...]
SHIPPED = "ready"
LABELLED = "labels"
"""The form of a view that shows what is labelled."""
_OWN_PRECISION = ("engine", "quantized-onnx")
SHORT = 8
"""Digits of a digest where there is no room for all."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy of one file. `name`: checkpoint, onnx, quantized-onnx, tflite, engine or start;
    `sha256`: the file's; `device`: what ran it, where that is not any machine's CPU; `kernels`: which
    of LiteRT's computed, of a TFLite file; `sigmas`: by which keypoints were judged, and whose they are.
    """

    name: str
    sha256: str
    split: str
    pictures: int
    objects: int
    metrics: tuple[tuple[str, float], ...]
    device: str = ""
    kernels: str = ""
    sigmas: tuple[float, ...] = ()
    sigmas_source: str = ""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One figure with what it is a figure of. `earlier`: not of the file that ships now; `batch`:
    images of one inference, 0 where unknown.
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
    """Bytes needed of bytes there are; `name`: arena or flash; `by`: what reported the need."""

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
    """What is labelled on an image, or what one form of the network finds on it.

    `form`: labels, checkpoint, onnx, float-tflite, tflite, shipped-onnx; `drawing`: a file's name; `best`:
    (class, highest score) of every class that scores at all.
    """

    form: str
    drawing: str
    objects: int
    best: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageComparison:
    """One image: its labels, and the detections of each form of a network, the one that ships last."""

    name: str
    views: tuple[View, ...]

    @property
    def networks(self) -> tuple[View, ...]:
        """The views that a network has."""
        return tuple(view for view in self.views if view.form != LABELLED)

    @property
    def large(self) -> tuple[View, ...]:
        """What is compared at a glance: the labels, where they are drawn, and what ships."""
        return tuple(view for view in self.views if view.form == LABELLED) + self.networks[-1:]

    @property
    def small(self) -> tuple[View, ...]:
        """The forms before what ships."""
        return self.networks[:-1]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What a build's engine is made of and for, whether or not it could be built here.

    `compute_capability` empty: any from 8.0 on. `batch`: least, best, most pictures of an inference;
    `height`, `width` pixels, 0 where unknown. `network`: digest of the float ONNX file that all
    precisions come from; `source_bytes`: of the ONNX file that the engine is built from, 0 where it
    is not here. `lowered`: that file is of float32, and TensorRT lowers it while it builds: its
    accuracy is not the engine's.
    """

    library: str
    version: str
    compute_capability: str
    task: str
    scheme: str
    batch: tuple[int, ...]
    height: int
    width: int
    network: str = ""
    source_bytes: int = 0
    lowered: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One precision of one task. `mean_ms`, `min_ms`, `max_ms`: of the device's larger batch;
    `single_ms`: mean of batch 1.
    """

    task: str
    scheme: str
    mean_ms: float
    min_ms: float
    max_ms: float
    single_ms: float
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class PublishedDevice:
    """What a guide printed of one device. `words`: any of them in a target's label or name, in small
    letters, means this device; `note`: what a reader stumbles over.
    """

    device: str
    words: tuple[str, ...]
    compute_capability: str
    tensorrt: str
    ultralytics: str
    system: str
    note: str
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that somebody else measured and printed, and where: `file` at `commit`, `read` on a
    day. `about`: how they were taken; `caveat`: what to know before a time is compared.
    """

    source: str
    page: str
    file: str
    commit: str
    read: str
    about: str
    caveat: str
    model: str
    size: int
    batch: int
    devices: tuple[PublishedDevice, ...]


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """One step of a build with the tool that ran it."""

    stage: str
    module: str
    tool: str
    action_key: str


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A figure that is worse than the committed one by more than is tolerated."""

    metric: str
    now: float | None
    """None: it is not measured any more."""
    then: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A step that ended badly. `message`: its error, as the run printed it; `log`: the end of its log."""

    stage: str
    message: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training, which several builds may share. `files`: digest of the tree that it left, see
    `training_files`; `took`: how long, in words; `settings`: (name, value) as its step
    got them; `builds`: that rest on it.
    """

    files: str
    recipe: str
    checkpoint: str
    task: str = ""
    """Empty where its family has one alone."""
    tool: str = ""
    took: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    builds: tuple[str, ...] = ()
    curves: str = ""
    """Digest of the file with the checkpoint's precision over recall; empty where there is none."""
    measured: Measured | None = None

    @property
    def page(self) -> str:
        """Where its page is, below the report."""
        return f"trainings/{self.recipe}-{short(self.files)}.html"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One build. `status`: ready, rejected, failed, blocked, waiting, stale, interrupted,
    not built, broken; `detail`: the same in a sentence.

    `sha256`: of the file that ships, or, rejected, of the one that was kept aside.
    """

    id: str
    recipe: str
    target: str
    label: str
    status: str
    detail: str
    candidate: bool = False
    file: str = ""
    bytes: int = 0
    sha256: str = ""
    manifest_sha256: str = ""
    measured: tuple[Measured, ...] = ()
    latency: tuple[Latency, ...] = ()
    budgets: tuple[Budget, ...] = ()
    ladder: Ladder | None = None
    load: tuple[tuple[str, str], ...] = ()
    contract: tuple[tuple[str, str], ...] = ()
    overlap: tuple[tuple[str, str], ...] = ()
    unverified: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    calibration: tuple[str, ...] = ()
    calibration_sha256: str = ""
    chosen: str = ""
    steps: tuple[StepLine, ...] = ()
    drawings: str = ""
    """Digest of the tree that holds the drawings of `sights`."""
    sights: tuple[ImageComparison, ...] = ()
    sight_files: tuple[tuple[str, str], ...] = ()
    """(form, sha256) of the files whose detections `sights` are."""
    baseline: bool = False
    regressions: tuple[Regression, ...] = ()
    engine: EngineFacts | None = None
    proved: bool = True
    """False: nothing measured or judged what its package holds."""
    differs: tuple[str, ...] = ()
    """Where it is not what buildsys.lock records, in sentences."""
    failure: Failure | None = None
    training: str = ""
    """Digest of what its training left; empty where it trained nothing, or the store has lost it."""
    curves: tuple[tuple[str, str], ...] = ()
    """(name of a measured file, digest of its precision over recall and confusion matrix)."""

    @property
    def good(self) -> bool:
        """Whether there is something to ship."""
        return self.status == SHIPPED

    @property
    def status_text(self) -> str:
        """The status as people read it."""
        return status_text(self.status, self.proved or not self.good, not self.differs)

    @property
    def has_figures(self) -> bool:
        """Whether there is a file, or of an engine that waits what its ONNX file can do."""
        return bool(self.file) or (self.engine is not None and bool(self.measured))

    @property
    def shipped(self) -> Measured | None:
        """The figures of the file that ships, or of what it was compiled from."""
        return self._first(("engine",)) or self.judged

    @property
    def judged(self) -> Measured | None:
        """The same, as every machine has them: of an engine, what it was built from."""
        return self._first(("tflite", "quantized-onnx", "onnx", "checkpoint"))

    @property
    def unmeasured(self) -> str:
        """The engine's precision, where accuracy is of a float32 file before it; else empty."""
        if self.engine is None or self.shipped is None or self.engine.scheme == "float32":
            return ""
        return "" if self.shipped.name in _OWN_PRECISION else self.engine.scheme

    @property
    def original(self) -> Measured | None:
        """The figures of the file in floating point that it all came from."""
        return self._first(("checkpoint", "onnx"))

    @property
    def page(self) -> str:
        """Where its page is, below the report."""
        return f"{self.recipe_folder}/{self.target_folder}.html"

    @property
    def recipe_folder(self) -> str:
        """Of the build's folder, the first part; also for a selection or variant."""
        return self.id.split("@")[0]

    @property
    def target_folder(self) -> str:
        """The part after the @."""
        return self.id.split("@")[-1]

    @property
    def has_page(self) -> bool:
        """A recipe with a mistake has a row and no page."""
        return self.status != "broken"

    def _first(self, names: tuple[str, ...]) -> Measured | None:
        known = {measured.name: measured for measured in self.measured}
        return next((known[name] for name in names if name in known), None)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One file of a comparison. `builds`: those that have it; `ratio`: of the mean to the fastest's;
    `transposes`: operators that only move data; `metrics`: accuracy, where this file's was measured.
    `earlier`: no build ships it any more.
    """

    builds: tuple[str, ...]
    format: str
    scheme: str
    converter: str
    engine: str
    sha256: str
    bytes: int
    operators: int
    transposes: int
    mean_ms: float
    min_ms: float
    p50_ms: float
    ratio: float
    metrics: tuple[tuple[str, float], ...] = ()
    images: int = 0
    """That accuracy was measured on; 0 where it was not."""
    earlier: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Files that one process timed, one run of each in turn; the fastest first. `label`: of LABELS."""

    label: str
    device: str
    threads: int
    runs: int
    warmup: int
    rows: tuple[Timed, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every build of a workspace, by id; `mistakes`: of recipes, as `buildsys check` tells them."""

    version: str
    artifacts: tuple[Artifact, ...]
    mistakes: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    published: Published | None = None
    """Of other people's engines; only where a build makes one."""
    trainings: tuple[Training, ...] = ()

    def training_of(self, item: Artifact) -> Training | None:
        """The training that a build rests on, where its curves are known."""
        return next((found for found in self.trainings if found.files == item.training), None)


def save(path: Path, report: Report) -> None:
    """Write report.json."""
    text = json.dumps(asdict(report), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Report:
    """Read report.json. Raises OSError, ValueError, TypeError where it is none of ours."""
    from buildsys.steps.lib.runtime.launcher import rebuild

    found: Report = rebuild(Report, json.loads(path.read_bytes()))
    return found


def short(digest: str) -> str:
    """The first digits of a digest."""
    return digest[:SHORT]


def headline(metrics: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    """The metrics that stand for the rest: not those of a class, not those at one threshold."""
    names = [name for name, _ in metrics]
    chosen = [name for name in names if name in HEADLINES]
    return tuple(chosen or names[:1])


def per_class(metrics: tuple[tuple[str, float], ...]) -> dict[str, dict[str, float]]:
    """Class -> {metric without the class: value}; empty for one class."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics:
        for stem in ("mAP50-95.", "mAP50.", "top1."):
            head, mark, kind = name.partition(stem)
            if mark and kind:
                found.setdefault(kind, {})[head + stem.removesuffix(".")] = value
                break
    return found
