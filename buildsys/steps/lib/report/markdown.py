"""Render report.md, the report for readers without a browser, with the standard library."""

from collections.abc import Iterable, Sequence

from buildsys.escaping import code_cell, markdown
from buildsys.steps.lib.report import engine_table as engines
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report.values import (
    Artifact,
    Comparison,
    ImageComparison,
    Latency,
    Measured,
    Metrics,
    Published,
    PublishedDevice,
    Report,
    short,
)

_ENGINE_HEADER = (
    "build",
    "task",
    "precision",
    "batch × size",
    "ms (least to most)",
    "accuracy",
    "KiB",
    "against float32",
)
_OF_BATCH = "Times are of a whole batch."
_PUBLISHED_HEADER = (
    "task",
    "precision",
    "ms, batch 1",
    "ms, batch {batch}",
    "accuracy",
    "against float32",
)


def render(report: Report) -> str:
    """Return the table of all builds, then what is not ready and why, then each build's proofs."""
    parts = [
        "# Build report",
        f"{words.counts(report.artifacts)}. Figures carry the sha256 of the file that they are of.",
        *_causes("Not ready", words.causes(report.artifacts)),
        *_causes("Not what buildsys.lock records", words.differing(report.artifacts)),
        *_regressions(report),
        *_overview(report),
        *_engines(report),
        *(part for found in report.comparisons for part in _comparison(found)),
        *(_section(artifact) for artifact in report.artifacts if artifact.file),
        f"buildsys {markdown(report.version)}",
    ]
    return "\n\n".join(parts) + "\n"


def _causes(heading: str, causes: Iterable[words.Cause]) -> list[str]:
    """Return one line per cause."""
    lines = []
    for cause in causes:
        more = len(cause.builds) - 1
        who = f"**{markdown(cause.builds[0].id)}**" + (f" and {more} more" if more else "")
        lines.append(f"- {who}: {markdown(cause.text)}")
        lines += [f"  - {markdown(line)}" for line in words.first_lines(cause.message).splitlines()]
        lines += (
            [f"  - all: {markdown(', '.join(item.id for item in cause.builds))}"] if more else []
        )
    return [f"## {heading}", "\n".join(lines)] if lines else []


def _regressions(report: Report) -> list[str]:
    lines = [
        f"- **{markdown(item.id)}**: {markdown(words.worse(regression))}, file {code_cell(short(item.sha256))}"
        for item in report.artifacts
        for regression in item.regressions
    ]
    return ["## Worse than baselines.json", "\n".join(lines)] if lines else []


def _overview(report: Report) -> list[str]:
    labels = words.labels(report.artifacts)
    header = (
        "build",
        "status",
        "file",
        "KiB",
        "sha256",
        "accuracy (against the original)",
        *(f"ms, {markdown(label)}" for label in labels),
        "arena KiB",
        "flash KiB",
    )
    groups = words.by_recipe(report.artifacts)
    rows = [_row(item, labels) for group in groups for item in group.built]
    used = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    rest = [
        f"- {markdown(group.recipe)}: "
        + "; ".join(
            f"{markdown(status)}: {markdown(', '.join(map(words.short_name, items)))}"
            if items[0].has_page
            else markdown(status)
            for status, items in words.by_status(group.rest)
        )
        for group in groups
        if group.rest
    ]
    parts = ["## Builds", _table(header, rows, used)] if rows else []
    return parts + (["## Without figures", "\n".join(rest)] if rest else [])


def _comparison(found: Comparison) -> list[str]:
    header = (
        "build",
        "format",
        "scheme",
        "converter",
        "KiB",
        "operators",
        "TRANSPOSE",
        "batch",
        "mean ms",
        "min ms",
        "p50 ms",
        "ratio",
        "accuracy",
        "sha256",
    )
    rows = [
        (
            markdown(words.sharers(row.builds)),
            markdown(row.format),
            markdown(row.scheme),
            markdown(row.converter),
            words.kib(row.bytes),
            str(row.operators),
            str(row.transposes),
            str(row.batch),
            words.ms(row.mean_ms),
            words.ms(row.min_ms),
            words.ms(row.p50_ms),
            f"{row.ratio:.2f}",
            markdown(words.accuracy(row)),
            f"{code_cell(short(row.sha256))}" + (" of an earlier file" if row.earlier else ""),
        )
        for row in found.rows
    ]
    text = f"{markdown(words.rounds(found))}."
    return ["## Comparison", text[:1].upper() + text[1:], _table(header, rows)]


def _row(item: Artifact, labels: tuple[str, ...]) -> tuple[str, ...]:
    accuracy = [
        f"{markdown(name)} {words.score(after)}"
        + (f" ({words.drop(before, after)})" if before else "")
        for name, after, before in words.accuracy_rows(item)
    ]
    if accuracy and item.shipped:
        accuracy.append(markdown(words.measured_on(item.shipped)))
    if accuracy and item.shipped and item.shipped.sha256 != item.sha256:
        of = f"of {code_cell(short(item.shipped.sha256))}"
        of += ", the float32 ONNX file" if item.unmeasured else ""
        accuracy.append(f"{of}{words.unmeasured(item)}")
    speeds = [
        "; ".join(
            f"{words.ms(entry.mean_ms)} ({markdown(words.machine(entry, item.label))}, {_timed(item, entry)})"
            for entry in words.of_label(item, label)
        )
        for label in labels
    ]
    return (
        markdown(item.id),
        markdown(item.status_text),
        markdown(item.file),
        words.kib(item.bytes) if item.bytes else "",
        f"{code_cell(short(item.sha256))}" if item.sha256 else "",
        "; ".join(accuracy),
        *speeds,
        _budget(item, "arena"),
        _budget(item, "flash"),
    )


def _timed(item: Artifact, entry: Latency) -> str:
    """Return the digest of the timed file, and what it is if it is not the shipped one."""
    return " ".join(filter(None, (words.other_file(item, entry), code_cell(short(entry.sha256)))))


def _budget(item: Artifact, name: str) -> str:
    for budget in item.budgets:
        if budget.name == name:
            need = words.need_kib(budget.need_bytes)
            return f"{need} of {words.kib(budget.has_bytes)}" if budget.has_bytes else need
    return ""


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], used: Sequence[int] | None = None
) -> str:
    """Return a table of escaped cells. `used`: the columns to show; all by default."""
    shown = range(len(header)) if used is None else used
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line[i] for i in shown) + " |" for line in lines)


def _section(item: Artifact) -> str:
    """Return the section of one artifact: full digests, its ladder, and what is not verified."""
    lines = [f"## {markdown(item.id)}", ""]
    lines.append(
        f"- file: {markdown(item.file)}, {item.bytes:,} bytes, sha256 {code_cell(item.sha256)}"
    )
    if item.manifest_sha256:
        lines.append(f"- manifest: sha256 {code_cell(item.manifest_sha256)}")
    lines += [
        f"- {markdown(measured.name)}: {_metrics(measured)}; {markdown(words.measured_on(measured))};"
        f" sha256 {code_cell(measured.sha256)}{_how(measured)}"
        for measured in item.measured
    ]
    if item.calibration_sha256:
        lines.append(
            f"- calibration: {len(item.calibration)} images, list sha256 {code_cell(item.calibration_sha256)}"
        )
    lines += _ladder(item)
    lines += [line for image in item.sights for line in _confidences(image)]
    lines += ["- load test:"] if item.load else []
    lines += [f"  - {markdown(name)}: {markdown(text)}" for name, text in item.load]
    lines += [f"- {markdown(note)}" for note in item.unverified]
    return "\n".join(lines)


def _how(measured: Measured) -> str:
    """Return which kernels computed, and with which sigmas keypoints were evaluated."""
    parts = (words.kernels(measured), words.sigmas(measured))
    return "".join(f"; {markdown(part)}" for part in parts if part)


def _confidences(image: ImageComparison) -> list[str]:
    """Return the best score of each class on an image, for every form of the network."""
    forms = [words.form(view.form) for view in image.networks]
    return [
        f"- confidence on {markdown(image.name)}, {markdown(name)}: "
        + ", ".join(f"{markdown(f)} {words.score(s)}" for f, s in zip(forms, scores, strict=True))
        for name, scores in words.confidences(image)
    ]


def _metrics(measured: Measured) -> str:
    """Return the metrics, and the classes that have none."""
    figures = [f"{markdown(name)} {words.score(value)}" for name, value in measured.metrics]
    return ", ".join(
        [*figures, *(f"no objects of {markdown(n)}" for n in measured.without_objects)]
    )


def _ladder(item: Artifact) -> list[str]:
    if item.ladder is None:
        return []
    verdicts = {True: "holds", False: "FAILS", None: "not judged"}
    lines = [f"- parity ladder on {item.ladder.pictures} images: {verdicts[item.ladder.passed]}"]
    lines += [
        f"  - {markdown(rung.start)} → {markdown(rung.end)}: {verdicts[rung.passed]}"
        + (f"; {markdown(rung.note)}" if rung.note else "")
        for rung in item.ladder.rungs
    ]
    return lines + [f"  - {markdown(failure)}" for failure in item.ladder.failures]


def _engines(report: Report) -> list[str]:
    """Return the engines device by device, with published figures of such a device; [] without
    engines.
    """
    found = engines.groups(report)
    if not found or report.published is None:
        return []
    parts = ["## Engines"]
    for group in found:
        tool = f"{group.tool}; {group.where}" if group.where else group.tool
        parts += [
            f"### {markdown(group.label)}",
            f"{markdown(tool)}.{' ' + _OF_BATCH if group.timed else ''}",
        ]
        parts.append(_table(_ENGINE_HEADER, [_engine_row(row, group) for row in group.rows]))
        parts += _published(group.published, report.published) if group.published else []
    return [*parts, *_sources(report.published)]


def _engine_row(row: engines.Row, group: engines.Group) -> tuple[str, ...]:
    accuracy = ""
    if row.measured is not None:
        of = f"of the {markdown(engines.source(row))} {code_cell(short(row.measured.sha256))}"
        of += f", {markdown(words.measured_on(row.measured))}{words.unmeasured(row.item)}"
        accuracy = f"{_rounded(row.metrics, 4)}, {of}"
    return (
        markdown(row.item.id),
        markdown(row.facts.task),
        markdown(row.facts.scheme),
        f"{engines.batch(row)} × {engines.side(row)}",
        _times(row, group),
        accuracy,
        f"{words.kib(row.bytes)} ({markdown(row.file)})" if row.bytes else "",
        _ratios(row.ratios),
    )


def _times(row: engines.Row, group: engines.Group) -> str:
    entry = row.timed
    if entry is None:
        return markdown(engines.standing(row))
    parts = []
    for name, figure in (("", row.alone), ("end to end ", row.whole)):
        if figure is not None:
            spread = words.spread(figure)
            parts.append(f"{name}{words.ms(figure.mean_ms)}" + (f" ({spread})" if spread else ""))
    parts += [] if group.where else [markdown(engines.where(row))]
    parts += (
        [f"of an engine that is not here, {code_cell(short(entry.sha256))}"]
        if entry.earlier
        else []
    )
    return "; ".join(parts)


def _rounded(rows: Metrics, digits: int) -> str:
    return ", ".join(f"{markdown(name)} {value:.{digits}f}" for name, value in rows)


def _ratios(found: engines.Ratios | None, digits: int = 4) -> str:
    if found is None:
        return ""
    parts = [f"time {words.times(found.latency)}"] if found.latency else []
    parts += [f"size {words.times(found.size)}"] if found.size else []
    parts += [f"{markdown(name)} {words.change(value, digits)}" for name, value in found.metrics]
    return ", ".join(parts)


def _published(device: PublishedDevice, source: Published) -> list[str]:
    about = (
        f"Published for {device.device}: {source.model}, {source.size} pixels, TensorRT"
        f" {device.tensorrt}, Ultralytics {device.ultralytics}, {device.system}. {device.note} {source.caveat}"
    )
    rows = [
        (
            markdown(row.task),
            markdown(row.scheme),
            words.ms(row.single_ms),
            f"{words.ms(row.mean_ms)} ({words.ms(row.min_ms)} to {words.ms(row.max_ms)})",
            _rounded(engines.key_metrics(row.metrics), 2),
            _ratios(engines.published_ratios(row, device), 2),
        )
        for row in device.rows
    ]
    header = tuple(name.format(batch=source.batch) for name in _PUBLISHED_HEADER)
    return [markdown(about), _table(header, rows)]


def _sources(source: Published) -> list[str]:
    """Return the sources of the published figures; figures of other devices are on the page."""
    origin = f"{source.source}, {source.page}, {source.file} at {short(source.commit)}, read on {source.read}."
    return [
        markdown(f"Published figures: {origin} {source.about} Nothing of it was measured here.")
    ]
