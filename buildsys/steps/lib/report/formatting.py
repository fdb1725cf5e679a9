"""Format the figures of a report, in the same way for pages and report.md."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from buildsys.spec import status_text
from buildsys.steps.lib.heads.thresholds import CONFIDENCE
from buildsys.steps.lib.metrics.latency import END_TO_END
from buildsys.steps.lib.metrics.limits import decimals
from buildsys.steps.lib.report.values import (
    LABELS,
    SHIPPED,
    Artifact,
    Budget,
    Comparison,
    ImageComparison,
    Latency,
    Measured,
    Regression,
    Timed,
    headline,
)

NONE = "–"
_ORDER = (
    SHIPPED,
    status_text(SHIPPED, proved=False),
    status_text(SHIPPED, proved=True, as_locked=False),
    status_text(SHIPPED, proved=False, as_locked=False),
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
    "labels": "labels",
    "checkpoint": "PyTorch",
    "onnx": "ONNX",
    "float-tflite": "float TFLite",
    "tflite": "shipped TFLite",
    "quantized-onnx": "ONNX before the engine",
}
_FILES = {
    "onnx": "float32 ONNX file",
    "quantized-onnx": "quantized ONNX file",
    "tflite": "TFLite file",
}
"""Files that are timed here before a compiler or a converter makes the shipped one."""
_PLACES = ("log: ", "to repeat: ")
"""Beginnings of error lines that do not state the cause."""
_MOST_CLASSES = 12
"""Maximum number of classes whose confidences are listed per image."""
_NAMED = 2
"""Maximum number of builds named in a table row; the ONNX file of a matrix belongs to all its
builds.
"""
_RED = ("rejected", "failed", "broken")


def kib(count: int) -> str:
    """Return bytes as KiB, with one decimal below ten."""
    value = count / 1024
    return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"


def need_kib(count: int) -> str:
    """Return needed bytes as KiB like `kib`, rounded up, so that a budget that is exceeded is never
    equal to its limit.
    """
    tenths = -(-count * 10 // 1024)
    return f"{tenths / 10:,.1f}" if tenths < 100 else f"{-(-count // 1024):,}"


def first_lines(message: str, most: int = 6) -> str:
    """Return the beginning of an error; the build's page has the rest, the log, and the command to
    repeat it.
    """
    lines = cause_of(message).splitlines()
    return "\n".join(lines[:most] + (["…"] if len(lines) > most else []))


def cause_of(message: str) -> str:
    """Return a failed step's error without the lines about its log and how to repeat it."""
    lines = message.strip().splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith(_PLACES))


def places_of(message: str) -> str:
    """Return the lines about a failed step's log and how to repeat it."""
    lines = (line.strip() for line in message.splitlines())
    return "\n".join(line for line in lines if line.startswith(_PLACES))


def number(value: float | None) -> str:
    """Return a figure of any magnitude with four significant digits."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.4g}"


def score(value: float | None) -> str:
    """Return an accuracy, 0..1."""
    return NONE if value is None else f"{value:.4f}"


def drop(before: float | None, after: float | None) -> str:
    """Return the change of an accuracy, with its sign."""
    if before is None or after is None:
        return ""
    return change(after - before)


def change(value: float, digits: int = 4) -> str:
    """Return a difference with its sign."""
    text = f"{value:+.{digits}f}".replace("-", "−")
    return f"±{text[1:]}" if not float(text[1:]) else text


def ms(value: float | None) -> str:
    """Return milliseconds with three significant digits."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def share(budget: Budget) -> float | None:
    """Return the used share of a budget; 1.0 is all of it."""
    return budget.need_bytes / budget.has_bytes if budget.has_bytes else None


def percent(value: float) -> str:
    """Return a share as a percentage; only a share of 1 is 100 %."""
    shown = min(value, 0.99) if value < 1 else max(value, 1.01) if value > 1 else value
    return f"{shown:.0%}"


def counts(artifacts: Iterable[Artifact]) -> str:
    """Return the counts, such as "3 builds: 2 ready, 1 rejected"."""
    found: dict[str, int] = {}
    for artifact in artifacts:
        found[artifact.status_text] = found.get(artifact.status_text, 0) + 1
    total = sum(found.values())
    known = [*(n for n in _ORDER if n in found), *(n for n in sorted(found) if n not in _ORDER)]
    parts = ", ".join(f"{found[name]} {name}" for name in known)
    return f"{total} build{'' if total == 1 else 's'}: {parts}" if total else "no builds"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why builds are not ready: `text` as a sentence, `message`: the error of the failed step."""

    text: str
    tone: str
    builds: tuple[Artifact, ...]
    message: str = ""


def causes(artifacts: Iterable[Artifact]) -> tuple[Cause, ...]:
    """Return the causes that a status does not show, once per cause, failures before waiting
    builds.
    """
    found: dict[tuple[str, str, str], list[Artifact]] = {}
    for item in artifacts:
        if item.good or item.detail == item.status:
            continue
        failure = item.failure
        text = f"failed at {failure.stage}" if failure else item.detail or item.status
        key = ("bad" if failure else tone(item), text, failure.message if failure else "")
        found.setdefault(key, []).append(item)
    known = [
        Cause(text=text, tone=colour, message=message, builds=_failed_first(builds))
        for (colour, text, message), builds in found.items()
    ]
    return tuple(sorted(known, key=lambda cause: (cause.tone != "bad", cause.builds[0].id)))


def differing(artifacts: Iterable[Artifact]) -> tuple[Cause, ...]:
    """Return what differs from buildsys.lock: each sentence once, with its builds."""
    found: dict[str, list[Artifact]] = {}
    for item in artifacts:
        for text in item.differs:
            found.setdefault(text, []).append(item)
    return tuple(
        Cause(text=text, tone="quiet", builds=tuple(builds)) for text, builds in found.items()
    )


def _failed_first(builds: list[Artifact]) -> tuple[Artifact, ...]:
    """Return builds with a failed step before builds that need the same step."""
    return tuple(sorted(builds, key=lambda item: (item.status != "failed", item.id)))


@dataclass(frozen=True, kw_only=True)
class Group:
    """The builds of a recipe: those with figures, then those without."""

    recipe: str
    built: tuple[Artifact, ...]
    rest: tuple[Artifact, ...]


def by_recipe(artifacts: Iterable[Artifact]) -> tuple[Group, ...]:
    """Return every recipe with its builds, by name."""
    found: dict[str, list[Artifact]] = {}
    for item in sorted(artifacts, key=lambda item: (item.recipe, item.id)):
        found.setdefault(item.recipe, []).append(item)
    return tuple(
        Group(
            recipe=recipe,
            built=tuple(item for item in items if item.has_figures),
            rest=tuple(item for item in items if not item.has_figures),
        )
        for recipe, items in found.items()
    )


def by_status(artifacts: Iterable[Artifact]) -> tuple[tuple[str, tuple[Artifact, ...]], ...]:
    """Return (status, its builds), in the order of a report."""
    found: dict[str, list[Artifact]] = {}
    for item in artifacts:
        found.setdefault(item.status, []).append(item)
    order = [*_ORDER, *sorted(found)]
    return tuple((name, tuple(found.pop(name))) for name in order if name in found)


def short_name(artifact: Artifact) -> str:
    """Return the name of a build below its recipe's heading: its target, and for a variant what
    distinguishes it.
    """
    if artifact.recipe_folder == artifact.recipe:
        return artifact.target_folder
    variant = artifact.recipe_folder.removeprefix(f"{artifact.recipe}-")
    return f"{variant}@{artifact.target_folder}"


def tone(artifact: Artifact) -> str:
    """Return good | bad | quiet: the colour of a status."""
    if artifact.status in _RED and not (artifact.candidate and artifact.status == "rejected"):
        return "bad"
    whole = artifact.proved and not artifact.differs
    return "good" if artifact.status == SHIPPED and whole else "quiet"


def measured_on(measured: Measured) -> str:
    """Return on what it was measured, such as "300 images of val, 541 objects"."""
    parts = [f"{measured.pictures:,} image{'' if measured.pictures == 1 else 's'}"]
    parts[0] += f" of {measured.split}" if measured.split else ""
    parts += [f"{measured.objects:,} objects"] if measured.objects else []
    return ", ".join(parts)


def sigmas(measured: Measured) -> str:
    """Return the sigmas of keypoints: one value if all are equal."""
    values = measured.sigmas
    if not values:
        return ""
    alike = len(set(values)) == 1
    shown = f"{values[0]:.4g} each" if alike else ", ".join(f"{value:.4g}" for value in values)
    return f"keypoint sigmas {shown} ({measured.sigmas_source})"


def kernels(measured: Measured) -> str:
    """Return which of LiteRT's kernels computed a TFLite file."""
    return f"kernels: {measured.kernels}" if measured.kernels else ""


def accuracy_rows(artifact: Artifact) -> tuple[tuple[str, float, float | None], ...]:
    """Return (metric, value of the shipped file, value of the original) of the main metrics."""
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
    """Return what an accuracy does not cover, such as "; int8 was not measured"; "" if it covers
    everything.
    """
    return f"; {artifact.unmeasured} was not measured" if artifact.unmeasured else ""


def of_label(artifact: Artifact, label: str) -> tuple[Latency, ...]:
    """Return the latencies of the shipped file with a label: of the engine only, at the smallest
    known batch, each with its batch where `images` knows it.
    """
    own = [e for e in artifact.latency if e.label == label and not e.earlier]
    shipped = {artifact.sha256, artifact.shipped.sha256 if artifact.shipped else ""}
    own = [e for e in own if e.sha256 in shipped] or own
    alone = [e for e in own if e.what != END_TO_END] or own
    sized = [replace(e, batch=images(artifact, e)) for e in alone]
    least = min((e.batch for e in sized if e.batch), default=0)
    return tuple(e for e in sized if e.batch == least)


def images(artifact: Artifact, entry: Latency) -> int:
    """Return the images per inference; 0 if unknown, as for trtexec's times of an engine that has
    several batches.

    A file that is not an engine has one batch: that of its other figures, else 1.
    """
    if entry.batch:
        return entry.batch
    if entry.format == "engine":
        return artifact.engine.only_batch if artifact.engine and not entry.earlier else 0
    return max((e.batch for e in artifact.latency if e.sha256 == entry.sha256), default=0) or 1


def labels(artifacts: Iterable[Artifact]) -> tuple[str, ...]:
    """Return the labels for which any build's file has a figure."""
    used = {e.label for artifact in artifacts for e in artifact.latency if not e.earlier}
    return tuple(label for label in LABELS if label in used)


def rounds(comparison: Comparison) -> str:
    """Return how a comparison was measured, and on what."""
    threads = f"{comparison.threads} thread{'' if comparison.threads == 1 else 's'}"
    return (
        f"{comparison.label} on {comparison.device}, {threads}: {comparison.runs} runs after"
        f" {comparison.warmup} to warm up, one run of each file in turn; the engine only. Times are"
        " of a whole batch; the ratio is that of the means per image"
    )


def accuracy(row: Timed) -> str:
    """Return the accuracy of one compared file and the number of images, or that it was not
    measured.
    """
    text = "; ".join(f"{name} {score(value)}" for name, value in row.metrics)
    images = f"; {row.images:,} images" if row.images else ""
    return f"{text}{images}" if text else "not measured"


def worse(regression: Regression) -> str:
    """Return one regression as a sentence."""
    if regression.now is None:
        return f"{regression.metric} was {number(regression.then)} and is not measured any more"
    change, tolerance = abs(regression.now - regression.then), regression.tolerance
    if regression.metric == "bytes":
        way, digits, allowed = "grew", 0, f"{math.floor(round(tolerance, 9)):,}"
    else:
        way, digits, allowed = "fell", decimals(change, tolerance), _exact(tolerance)
    by, then, now = (f"{value:,.{digits}f}" for value in (change, regression.then, regression.now))
    return f"{regression.metric} {way} by {by}: {then} → {now} ({allowed} is tolerated)"


def _exact(limit: float) -> str:
    """Return a limit of an accuracy with the usual digits, or with all of its own."""
    usual = score(limit)
    return usual if float(usual) == limit else f"{limit:g}"


def machine(entry: Latency, known: str = "") -> str:
    """Return the engine, the machine, the batch unless it is 1, and the number of runs.
    `known`: the device to omit.
    """
    parts = [entry.engine, "" if entry.device == known else entry.device]
    parts += [batch(entry)]
    parts += [f"{entry.threads} thread{'' if entry.threads == 1 else 's'}"] if entry.threads else []
    parts += [f"{entry.runs} run{'s' * (entry.runs > 1)}"] if entry.runs else []
    return ", ".join(part for part in parts if part)


def batch(entry: Latency) -> str:
    """Return the batch of an entry of `of_label`; "" for one image."""
    return "" if entry.batch == 1 else f"batch {entry.batch or 'unknown'}"


def other_file(artifact: Artifact, entry: Latency) -> str:
    """Return which file a latency is of; "" if it is the shipped one."""
    return "" if entry.sha256 == artifact.sha256 else _FILES.get(entry.format, "")


def percentiles(entry: Latency) -> tuple[tuple[str, float], ...]:
    """Return (name, milliseconds) of the known figures besides the mean."""
    names = ("min", "p50", "p90", "p99", "max")
    values = (entry.min_ms, entry.p50_ms, entry.p90_ms, entry.p99_ms, entry.max_ms)
    return tuple(
        (name, value) for name, value in zip(names, values, strict=True) if value is not None
    )


def conditions(entry: Latency) -> str:
    """Return the machine and the number of runs."""
    warm = f" after {entry.warmup}" if entry.warmup and entry.runs else ""
    parts = [entry.device]
    parts += [f"{entry.threads} thread{'' if entry.threads == 1 else 's'}"] if entry.threads else []
    parts += [f"{entry.runs} run{'s' * (entry.runs > 1)}{warm}"] if entry.runs else []
    return ", ".join(part for part in parts if part)


def spread(entry: Latency) -> str:
    """Return minimum and maximum of its runs, if both are known."""
    if entry.min_ms is None or entry.max_ms is None:
        return ""
    return f"{ms(entry.min_ms)} to {ms(entry.max_ms)}"


def times(ratio: float) -> str:
    """Return a ratio, such as "×0.52"."""
    return f"×{ratio:.2f}"


def form(name: str) -> str:
    """Return the common name of a form of the network."""
    return _FORMS.get(name, name)


def confidences(
    image: ImageComparison, confidence: float = CONFIDENCE
) -> tuple[tuple[str, tuple[float | None, ...]], ...]:
    """Return (class, its highest score in each view) of the classes above the confidence in any
    view.
    """
    tables = [dict(view.best) for view in image.networks]
    sure = [n for table in tables for n, score in table.items() if score >= confidence]
    names = tuple(dict.fromkeys(sure))[:_MOST_CLASSES]
    return tuple((name, tuple(table.get(name) for table in tables)) for name in names)


def sharers(builds: tuple[str, ...]) -> str:
    """Return "a@host, b@host", or "a@host and 9 more"."""
    if len(builds) <= _NAMED:
        return ", ".join(builds)
    return f"{builds[0]} and {len(builds) - 1} more"
