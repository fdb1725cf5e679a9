"""The table of engines: device by device, precision x task x batch x size, against float32.

A ratio is of two files of one float network on one device; of what was not measured there is none.
"""

from dataclasses import dataclass, replace

from buildsys.spec import SCHEMES
from buildsys.steps.lib.metrics.latency import END_TO_END
from buildsys.steps.lib.report.values import (
    SHIPPED,
    Artifact,
    EngineFacts,
    Latency,
    Measured,
    Metrics,
    PublishedDevice,
    PublishedRow,
    Report,
    headline,
)
from buildsys.steps.lib.tensorrt.host_library import TITLES

_FLOAT, _LOCAL, _ONNX = "float32", "local", "ONNX"
_FILES = {"onnx": "ONNX file", "quantized-onnx": "quantized ONNX file"}
_TASKS = ("detect", "segment", "classify", "pose", "obb")


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Against float32: shares of its mean time and its size, differences of its accuracy.

    None, and no metric, where one of the two was not measured.
    """

    latency: float | None = None
    size: float | None = None
    metrics: Metrics = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine, and one batch of it on one machine; `batch` 0: nothing was timed.

    `alone`, `whole`: the engine only; with the copies to and from the GPU. `file`: engine or ONNX,
    what `bytes` are of; 0: neither is here.
    """

    item: Artifact
    facts: EngineFacts
    batch: int
    alone: Latency | None
    whole: Latency | None
    file: str
    bytes: int
    ratios: Ratios | None

    @property
    def measured(self) -> Measured | None:
        """Of the engine where it was measured, else of the ONNX file that it is built from."""
        return self.item.shipped

    @property
    def metrics(self) -> Metrics:
        """Those that stand for the rest."""
        return _headline(self.measured)

    @property
    def timed(self) -> Latency | None:
        """The figure that says where it was taken, and how."""
        return self.alone or self.whole


@dataclass(frozen=True, kw_only=True)
class Group:
    """The engines for one device. `tool`: library, version and GPUs; `where`: how all that was timed
    was timed, empty where rows differ; `published`: of such a device.
    """

    label: str
    tool: str
    where: str
    rows: tuple[Row, ...]
    published: PublishedDevice | None

    @property
    def timed(self) -> bool:
        """Whether there is a time to explain."""
        return any(row.timed for row in self.rows)


def groups(report: Report) -> tuple[Group, ...]:
    """Devices by name."""
    found: dict[tuple[str, str], list[Artifact]] = {}
    for item in report.artifacts:
        if item.engine is not None:
            found.setdefault((item.label, tool(item.engine)), []).append(item)
    found_groups = []
    for (label, named), items in sorted(found.items()):
        rows = tuple(sorted((row for item in items for row in _rows(item, items)), key=_place))
        places = {where(row) for row in rows if row.timed}
        common = places.pop() if len(places) == 1 else ""
        published = _same(report, items[0])
        found_groups.append(
            Group(label=label, tool=named, where=common, rows=rows, published=published)
        )
    return tuple(found_groups)


def others(report: Report) -> tuple[PublishedDevice, ...]:
    """Devices with published figures that no build is for."""
    shown = [group.published for group in groups(report)]
    known = _published(report) if shown else ()
    return tuple(device for device in known if device not in shown)


def _published(report: Report) -> tuple[PublishedDevice, ...]:
    """Devices with figures of tasks that an engine here has, and those alone."""
    tasks = {item.engine.task for item in report.artifacts if item.engine is not None}
    devices = report.published.devices if report.published else ()
    found = [
        replace(device, rows=tuple(row for row in device.rows if row.task in tasks))
        for device in devices
    ]
    return tuple(device for device in found if device.rows)


def tool(facts: EngineFacts) -> str:
    """TensorRT 10.3, compute capability 8.7."""
    library = TITLES.get(facts.library, facts.library)
    if _LOCAL in (facts.version, facts.compute_capability):
        return f"this machine's {library}"
    return f"{library} {facts.version}, compute capability {facts.compute_capability or '8.0 or later'}"


def published_ratios(row: PublishedRow, device: PublishedDevice) -> Ratios:
    """Of the guide's own figures, as they were printed: two digits behind the point."""
    base = next((r for r in device.rows if (r.task, r.scheme) == (row.task, _FLOAT)), None)
    if base is None or row.scheme == _FLOAT:
        return Ratios()
    return Ratios(
        latency=row.mean_ms / base.mean_ms, metrics=_differences(row.metrics, base.metrics)
    )


def key_metrics(metrics: Metrics) -> Metrics:
    """Those that stand for the rest."""
    chosen = headline(metrics)
    return tuple((name, value) for name, value in metrics if name in chosen)


def _rows(item: Artifact, items: list[Artifact]) -> list[Row]:
    assert item.engine is not None
    built = _is_built(item)
    entries = [e for e in item.latency if e.format == "engine" and e.earlier != built]
    places = dict.fromkeys((e.label, e.device, e.sha256, e.batch) for e in entries)
    file, count = _file(item)
    rows = []
    for place in places or [("", "", "", 0)]:
        own = [e for e in entries if (e.label, e.device, e.sha256, e.batch) == place]
        alone = next((e for e in own if e.what != END_TO_END), None)
        row = Row(
            item=item,
            facts=item.engine,
            batch=place[-1],
            alone=alone,
            whole=next((e for e in own if e.what == END_TO_END), None),
            file=file,
            bytes=count,
            ratios=_ratios(item, alone, items),
        )
        rows.append(row)
    return rows


def _ratios(item: Artifact, alone: Latency | None, items: list[Artifact]) -> Ratios | None:
    """None for float32 itself, and where it is not built for this device."""
    base = next((other for other in items if _is_base(other, item)), None)
    if base is None or item.engine is None or item.engine.scheme == _FLOAT:
        return None
    slow = [e for e in base.latency if alone is not None and _alike(e, alone)]
    (kind, count), (other_kind, other_count) = _file(item), _file(base)
    one_file = not count or (kind == _ONNX and item.engine.lowered)
    return Ratios(
        latency=alone.mean_ms / slow[0].mean_ms if alone and slow and slow[0].mean_ms else None,
        size=None if one_file or kind != other_kind or not other_count else count / other_count,
        metrics=() if item.unmeasured else _drop(item.shipped, base.shipped),
    )


def _file(item: Artifact) -> tuple[str, int]:
    """What there is to measure, engine or ONNX, and its bytes; 0 where neither is here."""
    if _is_built(item):
        return "engine", item.bytes
    return _ONNX, item.engine.source_bytes if item.engine else 0


def _is_built(item: Artifact) -> bool:
    """Whether its file is an engine, as a package or as a server calls it."""
    return item.file.endswith((".engine", ".plan"))


def _is_base(other: Artifact, item: Artifact) -> bool:
    """Whether it is the same network, input and batch as float32."""
    ours, theirs = item.engine, other.engine
    if ours is None or theirs is None or not ours.network:
        return False
    same = (ours.network, ours.height, ours.width, ours.batch)
    return theirs.scheme == _FLOAT and same == (
        theirs.network,
        theirs.height,
        theirs.width,
        theirs.batch,
    )


def _alike(one: Latency, other: Latency) -> bool:
    """Whether two figures were taken alike: on one machine, of one batch, of the same part."""
    parts = ("label", "device", "batch", "what", "earlier", "format")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def _drop(own: Measured | None, base: Measured | None) -> Metrics:
    """Of engines among themselves, or of ONNX files among themselves."""
    if own is None or base is None or (own.name == "engine") != (base.name == "engine"):
        return ()
    return _differences(_headline(own), _headline(base))


def _differences(own: Metrics, base: Metrics) -> Metrics:
    known = dict(key_metrics(base))
    return tuple((name, value - known[name]) for name, value in key_metrics(own) if name in known)


def _headline(measured: Measured | None) -> Metrics:
    return key_metrics(measured.metrics) if measured is not None else ()


def _same(report: Report, item: Artifact) -> PublishedDevice | None:
    """The device of the guide that an engine is for; TensorRT-RTX is another library."""
    if item.engine is None or item.engine.library != "tensorrt":
        return None
    text = f"{item.label} {item.target_folder}".lower()
    named = (d for d in _published(report) if any(word in text for word in d.words))
    return next(named, None)


def _place(row: Row) -> tuple[object, ...]:
    """Task by task, size by size, float32 before what is smaller."""
    facts = row.facts
    task = _TASKS.index(facts.task) if facts.task in _TASKS else len(_TASKS)
    scheme = SCHEMES.index(facts.scheme) if facts.scheme in SCHEMES else len(SCHEMES)
    timed = (row.batch == 0, row.batch)  # batch by batch, what has no time behind
    return (task, facts.height * facts.width, facts.network, timed, scheme, row.item.id)


def standing(row: Row) -> str:
    """Why there is no time: what a build waits for, or that nobody took one."""
    if row.item.status == SHIPPED:
        return "not measured"
    return row.item.detail or row.item.status


def where(row: Row) -> str:
    """measured here, NVIDIA A100, tensorrt 11.4.0.15, 50 runs after 5."""
    entry = row.timed
    if entry is None:
        return ""
    runs = f"{entry.runs} run{'s' * (entry.runs != 1)}" + (
        f" after {entry.warmup}" if entry.warmup else ""
    )
    parts = (
        entry.label,
        entry.device,
        f"{entry.engine} {entry.version}".strip(),
        runs if entry.runs else "",
        entry.note,
    )
    return ", ".join(part for part in parts if part)


def source(row: Row) -> str:
    """Which file an accuracy is of; empty where there is none."""
    if row.measured is None:
        return ""
    kind = _FILES.get(row.measured.name, row.measured.name)
    return f"{_FLOAT} {kind}" if row.item.unmeasured else kind


def batch(row: Row) -> str:
    """Pictures of the inference that was timed, else those that the engine is built for."""
    least, _, most = row.facts.batch
    return str(row.batch or (least if least == most else f"{least} to {most}"))


def side(row: Row) -> str:
    """Pixels of the input: one number where it is square."""
    height, width = row.facts.height, row.facts.width
    return str(height) if height == width else f"{height} × {width}"
