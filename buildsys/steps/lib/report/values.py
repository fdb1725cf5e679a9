"""The report's data, which the core collects and a step renders; report.json carries it between
them.

Digests are sha256 in hexadecimal, sizes are in bytes, times in milliseconds. An empty text or tuple
means unknown.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from buildsys.spec import HEADLINES, status_text

LABELS = ("estimated", "measured here", "measured on a device")
"""Labels of latencies, from the weakest to the strongest; never mixed in one column."""
Metrics = tuple[tuple[str, float], ...]
SHIPPED = "ready"
LABELLED = "labels"
"""The form of a view that shows the labels."""
_OWN_PRECISION = ("engine", "quantized-onnx")
SHORT = 8
"""Number of digits of a shortened digest."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Accuracy of one file. `name`: checkpoint, onnx, quantized-onnx, tflite, engine or start;
    `sha256`: the file's digest; `device`: what ran it, if not a CPU; `kernels`: which of LiteRT's
    kernels computed a TFLite file; `sigmas`: the sigmas of keypoints, and their source.
    """

    name: str
    sha256: str
    split: str
    pictures: int
    objects: int
    metrics: tuple[tuple[str, float], ...]
    without_objects: tuple[str, ...] = ()
    """Classes that do not occur in the split, and so have no metrics."""
    device: str = ""
    kernels: str = ""
    sigmas: tuple[float, ...] = ()
    sigmas_source: str = ""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One latency and its conditions. `earlier`: not measured on the file that ships now; `batch`:
    images per inference, 0 if unknown.
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
    """Needed and available bytes; `name`: arena or flash; `by`: the source of the need."""

    name: str
    need_bytes: int
    has_bytes: int | None
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Output:
    """The difference of one output from the rung before; `passed`: None if there is no limit."""

    name: str
    kind: str
    figure: str
    value: float | None
    limit: float | None
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The comparison of two neighbouring forms. `passed`: None if no output has a limit."""

    start: str
    end: str
    passed: bool | None
    outputs: tuple[Output, ...]
    detections: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """The ladder from the checkpoint to the firmware's decoder. `passed`: None if nothing was
    judged.
    """

    passed: bool | None
    pictures: int
    rungs: tuple[Rung, ...]
    first_failing: str
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """The labels of an image, or what one form of the network finds on it.

    `form`: labels, checkpoint, onnx, float-tflite, tflite; `drawing`: a file's name;
    `best`: (class, highest score) of every class with a score.
    """

    form: str
    drawing: str
    objects: int
    best: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageComparison:
    """One image: its labels, and the detections of each form of a network, the shipped form last."""

    name: str
    views: tuple[View, ...]

    @property
    def networks(self) -> tuple[View, ...]:
        """Return the views with detections of a network."""
        return tuple(view for view in self.views if view.form != LABELLED)

    @property
    def large(self) -> tuple[View, ...]:
        """Return the views shown large: the labels, if drawn, and the shipped form."""
        return tuple(view for view in self.views if view.form == LABELLED) + self.networks[-1:]

    @property
    def small(self) -> tuple[View, ...]:
        """Return the views shown small: the network's forms before the shipped one."""
        return self.networks[:-1]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """The facts of a build's engine, whether or not it could be built here.

    `compute_capability` empty: any from 8.0 on. `batch`: min, opt, max images per inference;
    `height`, `width` in pixels, 0 if unknown. `network`: digest of the float ONNX file from which
    all precisions come; `source_bytes`: size of the ONNX file from which the engine is built, 0 if
    it does not exist here. `lowered`: that file is float32, and TensorRT lowers it while building:
    its accuracy is not the engine's.
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

    @property
    def only_batch(self) -> int:
        """Return the batch of an engine that has only one, otherwise 0."""
        return self.batch[0] if len(set(self.batch)) == 1 else 0


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """Published figures of one precision of one task. `mean_ms`, `min_ms`, `max_ms`: for the
    device's larger batch; `single_ms`: mean for batch 1.
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
    """A guide's figures of one device. `words`: any of them in a target's label or name, in lower
    case, means this device; `note`: a remark for readers.
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
    """Figures published by others, with their source: `file` at `commit`, `read` on a day. `about`:
    how they were measured; `caveat`: what to know before comparing times.
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
    """One step of a build, and the tool that ran it."""

    stage: str
    module: str
    tool: str
    action_key: str


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A figure that is worse than the committed one by more than the tolerance."""

    metric: str
    now: float | None
    """None: no longer measured."""
    then: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed step. `message`: its error as the run printed it; `log`: the end of its log."""

    stage: str
    message: str
    log: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training, which several builds may share. `files`: digest of its output tree, see
    `training_files`; `took`: duration as text; `settings`: (name, value) of its step's parameters;
    `builds`: the builds that use it.
    """

    files: str
    recipe: str
    checkpoint: str
    task: str = ""
    """Empty if its family has only one task."""
    tool: str = ""
    took: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    builds: tuple[str, ...] = ()
    curves: str = ""
    """Digest of the file with the checkpoint's precision over recall; empty if there is none."""
    measured: Measured | None = None

    @property
    def page(self) -> str:
        """Return the path of its page below the report."""
        return f"trainings/{self.recipe}-{short(self.files)}.html"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One build. `status`: ready, rejected, failed, blocked, waiting, stale, interrupted, not
    built, broken; `detail`: the same as a sentence. `sha256`: digest of the shipped file, or of the
    kept file of a rejected build.
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
    """Digest of the tree with the drawings of `sights`."""
    sights: tuple[ImageComparison, ...] = ()
    sight_files: tuple[tuple[str, str], ...] = ()
    """(form, sha256) of the files whose detections are in `sights`."""
    baseline: bool = False
    regressions: tuple[Regression, ...] = ()
    engine: EngineFacts | None = None
    proved: bool = True
    """False: nothing measured or checked the content of its package."""
    differs: tuple[str, ...] = ()
    """Differences from buildsys.lock, as sentences."""
    failure: Failure | None = None
    training: str = ""
    """Digest of its training's output; empty without a training, or if it is missing from the
    store.
    """
    curves: tuple[tuple[str, str], ...] = ()
    """(name of a measured file, digest of its precision over recall and confusion matrix)."""

    @property
    def good(self) -> bool:
        """Return whether the build can be shipped."""
        return self.status == SHIPPED

    @property
    def status_text(self) -> str:
        """Return the status as text."""
        return status_text(self.status, self.proved or not self.good, not self.differs)

    @property
    def has_figures(self) -> bool:
        """Return whether there is a file, or, for an engine that waits, figures of its ONNX file."""
        return bool(self.file) or (self.engine is not None and bool(self.measured))

    @property
    def shipped(self) -> Measured | None:
        """Return the accuracy of the shipped file, or of the file from which it was compiled."""
        return self._first(("engine",)) or self.judged

    @property
    def judged(self) -> Measured | None:
        """Return the accuracy that every machine can measure: for an engine, that of the file it
        was built from.
        """
        return self._first(("tflite", "quantized-onnx", "onnx", "checkpoint"))

    @property
    def unmeasured(self) -> str:
        """Return the engine's precision if accuracy was measured on the float32 file before it;
        otherwise "".
        """
        if self.engine is None or self.shipped is None or self.engine.scheme == "float32":
            return ""
        return "" if self.shipped.name in _OWN_PRECISION else self.engine.scheme

    @property
    def original(self) -> Measured | None:
        """Return the accuracy of the original float file."""
        return self._first(("checkpoint", "onnx"))

    @property
    def page(self) -> str:
        """Where its page is, below the report."""
        return f"{self.recipe_folder}/{self.target_folder}.html"

    @property
    def recipe_folder(self) -> str:
        """Return the first part of the build's folder; also for a selection or variant."""
        return self.id.split("@")[0]

    @property
    def target_folder(self) -> str:
        """Return the part after the @."""
        return self.id.split("@")[-1]

    @property
    def has_page(self) -> bool:
        """Return whether the build has a page; a recipe with a mistake only has a row."""
        return self.status != "broken"

    def _first(self, names: tuple[str, ...]) -> Measured | None:
        known = {measured.name: measured for measured in self.measured}
        return next((known[name] for name in names if name in known), None)


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One file of a comparison. `builds`: builds with this file; times are of a run with `batch`
    images; `ratio`: its mean per image divided by the least one; `transposes`: number of operators
    that only move data; `metrics`: accuracy, if measured for this file. `earlier`: no build ships
    it any more.
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
    batch: int
    mean_ms: float
    min_ms: float
    p50_ms: float
    ratio: float
    metrics: tuple[tuple[str, float], ...] = ()
    images: int = 0
    """Number of images on which accuracy was measured; 0 if it was not."""
    earlier: bool = False


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Files that one process timed alternately; the fastest first. `label`: one of LABELS."""

    label: str
    device: str
    threads: int
    runs: int
    warmup: int
    rows: tuple[Timed, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """Every build of a workspace, by id; `mistakes`: those of recipes, as printed by `buildsys
    check`.
    """

    version: str
    artifacts: tuple[Artifact, ...]
    mistakes: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    published: Published | None = None
    """Published figures of engines; only if a build makes one."""
    trainings: tuple[Training, ...] = ()

    def training_of(self, item: Artifact) -> Training | None:
        """Return the training of a build, if its curves are known."""
        return next((found for found in self.trainings if found.files == item.training), None)


def save(path: Path, report: Report) -> None:
    """Write report.json."""
    text = json.dumps(asdict(report), indent=1, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Report:
    """Read report.json. Raises OSError, ValueError, TypeError if it has another format."""
    from buildsys.steps.lib.runtime.launcher import rebuild

    found: Report = rebuild(Report, json.loads(path.read_bytes()))
    return found


def short(digest: str) -> str:
    """Return the first digits of a digest."""
    return digest[:SHORT]


def headline(metrics: tuple[tuple[str, float], ...]) -> tuple[str, ...]:
    """Return the main metrics: not those of one class, not those at one threshold."""
    names = [name for name, _ in metrics]
    chosen = [name for name in names if name in HEADLINES]
    return tuple(chosen or names[:1])


def per_class(metrics: tuple[tuple[str, float], ...]) -> dict[str, dict[str, float]]:
    """Return class -> {metric without the class: value}; {} for one class."""
    found: dict[str, dict[str, float]] = {}
    for name, value in metrics:
        for stem in ("mAP50-95.", "mAP50.", "top1."):
            head, mark, kind = name.partition(stem)
            if mark and kind:
                found.setdefault(kind, {})[head + stem.removesuffix(".")] = value
                break
    return found
