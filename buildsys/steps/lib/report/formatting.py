"""How a report writes figures: the same in pages and in report.md."""

import math
from collections.abc import Iterable

from buildsys.steps.lib.metrics.latency import END_TO_END
from buildsys.steps.lib.report.values import (
    LABELS,
    SHIPPED,
    Artifact,
    Budget,
    Comparison,
    ImageComparison,
    Latency,
    Regression,
    Timed,
    headline,
)

NONE = "–"
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*[]<>|"})
_ORDER = (
    SHIPPED,
    "stale",
    "rejected",
    "failed",
    "blocked",
    "waiting",
    "interrupted",
    "not built",
    "broken",
)
_FORMS = {
    "checkpoint": "PyTorch",
    "onnx": "ONNX",
    "float-tflite": "float TFLite",
    "tflite": "shipped TFLite",
    "shipped-onnx": "shipped ONNX",
    "quantized-onnx": "ONNX before the engine",
}
_MOST_CLASSES = 12
"""Of an image whose confidences are listed."""
_RED = ("rejected", "failed", "broken")


def escape(text: str) -> str:
    """One line in which nothing means anything to Markdown."""
    return " ".join(text.split()).replace("&", "&amp;").translate(_SPECIAL)


def kib(count: int) -> str:
    """Bytes as KiB, one digit below ten."""
    value = count / 1024
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def number(value: float | None) -> str:
    """A figure of any size, four digits that count."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


def score(value: float | None) -> str:
    """An accuracy, 0..1."""
    return NONE if value is None else f"{value:.4f}"


def drop(before: float | None, after: float | None) -> str:
    """How an accuracy changed, signed."""
    if before is None or after is None:
        return ""
    return change(after - before)


def change(value: float, digits: int = 4) -> str:
    """A difference, signed."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return f"±{text[1:]}" if not float(text[1:]) else text


def ms(value: float | None) -> str:
    """Milliseconds: three digits that count."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def share(budget: Budget) -> float | None:
    """How much of a budget is needed; 1.0 is all of it."""
    return budget.need_bytes / budget.has_bytes if budget.has_bytes else None


def percent(value: float) -> str:
    """A share as people read it; never rounded to all of it where some is left."""
    return f"{min(value, 0.99) if value < 1 else value:.0%}"


def counts(artifacts: Iterable[Artifact]) -> str:
    """3 builds: 2 ready, 1 rejected."""
    found: dict[str, int] = {}
    for artifact in artifacts:
        found[artifact.status] = found.get(artifact.status, 0) + 1
    total = sum(found.values())
    known = [*(n for n in _ORDER if n in found), *(n for n in sorted(found) if n not in _ORDER)]
    parts = ", ".join(f"{found[name]} {name}" for name in known)
    return f"{total} build{'' if total == 1 else 's'}: {parts}" if total else "no builds"


def ordered(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """What has figures before what has none, each by id."""
    return tuple(sorted(artifacts, key=lambda item: (not item.file, item.id)))


def troubled(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """What is not ready for a reason that its status does not tell."""
    return tuple(item for item in artifacts if not item.good and item.detail != item.status)


def tone(artifact: Artifact) -> str:
    """good | bad | quiet: the colour of a status."""
    if artifact.status in _RED and not (artifact.candidate and artifact.status == "rejected"):
        return "bad"
    return "good" if artifact.status == SHIPPED else "quiet"


def accuracy_rows(artifact: Artifact) -> tuple[tuple[str, float, float | None], ...]:
    """(metric, of what ships, of the original) of the metrics that stand for the rest."""
    shipped, original = artifact.shipped, artifact.original
    if shipped is None:
        return ()
    after, before = dict(shipped.metrics), dict(original.metrics) if original else {}
    same = original is None or original.name == shipped.name or bool(artifact.unmeasured)
    return tuple(
        (name, after[name], None if same else before.get(name))
        for name in headline(shipped.metrics)
    )


def unmeasured(artifact: Artifact) -> str:
    """What an accuracy says nothing of: "; int8 was not measured"; empty where it says it all."""
    return f"; {artifact.unmeasured} was not measured" if artifact.unmeasured else ""


def of_label(artifact: Artifact, label: str) -> tuple[Latency, ...]:
    """The figures of the file that ships that carry a label: the engine only, of the least batch."""
    own = [e for e in artifact.latency if e.label == label and not e.earlier]
    alone = [e for e in own if e.what != END_TO_END] or own
    least = min((e.batch for e in alone), default=0)
    return tuple(e for e in alone if e.batch == least)


def labels(artifacts: Iterable[Artifact]) -> tuple[str, ...]:
    """The labels that the file of any build has a figure of."""
    used = {e.label for artifact in artifacts for e in artifact.latency if not e.earlier}
    return tuple(label for label in LABELS if label in used)


def rounds(comparison: Comparison) -> str:
    """How a comparison was measured, and on what."""
    threads = f"{comparison.threads} thread{'' if comparison.threads == 1 else 's'}"
    return (
        f"{comparison.label} on {comparison.device}, {threads}: {comparison.runs} runs after"
        f" {comparison.warmup} to warm up, one run of each file in turn; the engine only"
    )


def accuracy(row: Timed) -> str:
    """Of one compared file, or that it was not measured."""
    text = "; ".join(f"{name} {score(value)}" for name, value in row.metrics)
    return text or "not measured"


def worse(regression: Regression) -> str:
    """One regression in words."""
    bytes_, accuracy = regression.metric == "bytes", score
    if regression.now is None:
        return f"{regression.metric} was {number(regression.then)} and is not measured any more"
    show = number if bytes_ else accuracy
    change = regression.now - regression.then
    way = f"{'grew' if bytes_ else 'fell'} by {show(abs(change))}"
    allowed = f"{show(regression.tolerance)} is tolerated"
    return (
        f"{regression.metric} {way}: {show(regression.then)} → {show(regression.now)} ({allowed})"
    )


def machine(entry: Latency, known: str = "") -> str:
    """Which engine on what, how often. `known`: the device that need not be named."""
    parts = [entry.engine, "" if entry.device == known else entry.device]
    parts += [f"{entry.threads} thread{'' if entry.threads == 1 else 's'}"] if entry.threads else []
    parts += [f"{entry.runs} run{'s' * (entry.runs > 1)}"] if entry.runs else []
    return ", ".join(part for part in parts if part)


def spread(entry: Latency) -> str:
    """Least and most of its runs, where both are known."""
    if entry.min_ms is None or entry.max_ms is None:
        return ""
    return f"{ms(entry.min_ms)} to {ms(entry.max_ms)}"


def times(ratio: float) -> str:
    """A ratio: ×0.52."""
    return f"×{ratio:.2f}"


def form(name: str) -> str:
    """A form of the network, as people call it."""
    return _FORMS.get(name, name)


def confidences(
    image: ImageComparison, confidence: float = 0.25
) -> tuple[tuple[str, tuple[float | None, ...]], ...]:
    """(class, its highest score in each view) of the classes that any view is sure of."""
    tables = [dict(view.best) for view in image.views]
    sure = [n for table in tables for n, score in table.items() if score >= confidence]
    names = tuple(dict.fromkeys(sure))[:_MOST_CLASSES]
    return tuple((name, tuple(table.get(name) for table in tables)) for name in names)


_NAMED = 2
"""Builds that a table's row names; the ONNX file of a matrix belongs to all its builds."""


def sharers(builds: tuple[str, ...]) -> str:
    """a@host, b@host; or a@host and 9 more."""
    if len(builds) <= _NAMED:
        return ", ".join(builds)
    return f"{builds[0]} and {len(builds) - 1} more"
