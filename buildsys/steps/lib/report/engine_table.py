"""The table of engines, device by device: precision x task x batch x size, relative to float32.

A ratio compares two files of one float network on one device; it is absent if one was not measured.
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
from buildsys.steps.lib.tensorrt.engine_program import TITLES

_FLOAT, _LOCAL, _ONNX = "float32", "local", "ONNX"
_FILES = {"onnx": "ONNX file", "quantized-onnx": "quantized ONNX file"}
_TASKS = ("detect", "segment", "classify", "pose", "obb")


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Figures relative to float32: ratios of mean time and size, differences of accuracy. None, or
    no metric, if one of the two was not measured.
    """

    latency: float | None = None
    size: float | None = None
    metrics: Metrics = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine with one batch size on one machine; `batch` 0: nothing was timed, or the timed
    batch is unknown.

    `alone`, `whole`: without and with the copies to and from the GPU. `file`: engine or ONNX, the
    file of size `bytes`; 0 if neither exists here.
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
        """Return the accuracy of the engine if measured, otherwise of the ONNX file that it is
        built from.
        """
        return self.item.shipped

    @property
    def metrics(self) -> Metrics:
        """Return the main metrics."""
        return _headline(self.measured)

    @property
    def timed(self) -> Latency | None:
        """Return the figure that states where and how it was measured."""
        return self.alone or self.whole


@dataclass(frozen=True, kw_only=True)
class Group:
    """The engines for one device. `tool`: library, version and GPUs; `where`: how all rows were
    timed, empty if rows differ; `published`: published figures of such a device.
    """

    label: str
    tool: str
    where: str
    rows: tuple[Row, ...]
    published: PublishedDevice | None

    @property
    def timed(self) -> bool:
        """Return whether any row was timed."""
        return any(row.timed for row in self.rows)


def groups(report: Report) -> tuple[Group, ...]:
    """Return the devices by name."""
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
    """Return devices with published figures that no build targets."""
    shown = [group.published for group in groups(report)]
    known = _published(report) if shown else ()
    return tuple(device for device in known if device not in shown)


def _published(report: Report) -> tuple[PublishedDevice, ...]:
    """Return devices with the published figures of tasks for which there is an engine."""
    tasks = {item.engine.task for item in report.artifacts if item.engine is not None}
    devices = report.published.devices if report.published else ()
    found = [
        replace(device, rows=tuple(row for row in device.rows if row.task in tasks))
        for device in devices
    ]
    return tuple(device for device in found if device.rows)


def tool(facts: EngineFacts) -> str:
    """Return the tool, such as "TensorRT 10.3, compute capability 8.7"."""
    library = TITLES.get(facts.library, facts.library)
    if _LOCAL in (facts.version, facts.compute_capability):
        return f"this machine's {library}"
    return f"{library} {facts.version}, compute capability {facts.compute_capability or '8.0 or later'}"


def published_ratios(row: PublishedRow, device: PublishedDevice) -> Ratios:
    """Return ratios of the guide's own figures, with two digits after the point as printed."""
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
    """Return the ratios; None for float32 itself, and if float32 is not built for this device."""
    base = next((other for other in items if _is_base(other, item)), None)
    if base is None or item.engine is None or item.engine.scheme == _FLOAT:
        return None
    known = alone is not None and (alone.batch or item.engine.only_batch)
    slow = [e for e in base.latency if alone is not None and known and _alike(e, alone)]
    (kind, count), (other_kind, other_count) = _file(item), _file(base)
    one_file = not count or (kind == _ONNX and item.engine.lowered)
    return Ratios(
        latency=alone.mean_ms / slow[0].mean_ms if alone and slow and slow[0].mean_ms else None,
        size=None if one_file or kind != other_kind or not other_count else count / other_count,
        metrics=() if item.unmeasured else _drop(item.shipped, base.shipped),
    )


def _file(item: Artifact) -> tuple[str, int]:
    """Return the measured kind of file, engine or ONNX, and its size in bytes; 0 if neither exists
    here.
    """
    if _is_built(item):
        return "engine", item.bytes
    return _ONNX, item.engine.source_bytes if item.engine else 0


def _is_built(item: Artifact) -> bool:
    """Return whether its file is an engine, by its name in a package or a server."""
    return item.file.endswith((".engine", ".plan"))


def _is_base(other: Artifact, item: Artifact) -> bool:
    """Return whether it is the float32 engine of the same network, input and batch."""
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
    """Return whether two figures are comparable: one machine, one batch size, the same part timed."""
    parts = ("label", "device", "batch", "what", "earlier", "format")
    return all(getattr(one, part) == getattr(other, part) for part in parts)


def _drop(own: Measured | None, base: Measured | None) -> Metrics:
    """Return accuracy differences between engines, or between ONNX files."""
    if own is None or base is None or (own.name == "engine") != (base.name == "engine"):
        return ()
    return _differences(_headline(own), _headline(base))


def _differences(own: Metrics, base: Metrics) -> Metrics:
    known = dict(key_metrics(base))
    return tuple((name, value - known[name]) for name, value in key_metrics(own) if name in known)


def _headline(measured: Measured | None) -> Metrics:
    return key_metrics(measured.metrics) if measured is not None else ()


def _same(report: Report, item: Artifact) -> PublishedDevice | None:
    """Return the device of the guide that an engine targets; TensorRT-RTX is a different library."""
    if item.engine is None or item.engine.library != "tensorrt":
        return None
    text = f"{item.label} {item.target_folder}".lower()
    named = (d for d in _published(report) if any(word in text for word in d.words))
    return next(named, None)


def _place(row: Row) -> tuple[object, ...]:
    """Return the sort key: by task, by size, float32 before smaller precisions."""
    facts = row.facts
    task = _TASKS.index(facts.task) if facts.task in _TASKS else len(_TASKS)
    scheme = SCHEMES.index(facts.scheme) if facts.scheme in SCHEMES else len(SCHEMES)
    timed = (row.batch == 0, row.batch)  # by batch, rows without a time last
    return (task, facts.height * facts.width, facts.network, timed, scheme, row.item.id)


def standing(row: Row) -> str:
    """Return why there is no time: what a build waits for, or that it was not measured."""
    if row.item.status == SHIPPED:
        return "not measured"
    return row.item.detail or row.item.status


def where(row: Row) -> str:
    """Return how it was timed, such as "measured here, NVIDIA A100, tensorrt 11.4.0.15, 50 runs
    after 5".
    """
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
    """Return which file an accuracy belongs to; "" if there is none."""
    if row.measured is None:
        return ""
    kind = _FILES.get(row.measured.name, row.measured.name)
    return f"{_FLOAT} {kind}" if row.item.unmeasured else kind


def batch(row: Row) -> str:
    """Return the batch size that was timed, otherwise those that the engine is built for."""
    least, _, most = row.facts.batch
    several = f"unknown ({least} to {most})" if row.timed else f"{least} to {most}"
    return str(row.batch or row.facts.only_batch or several)


def side(row: Row) -> str:
    """Return the input size in pixels: one number if it is square."""
    height, width = row.facts.height, row.facts.width
    return str(height) if height == width else f"{height} × {width}"
