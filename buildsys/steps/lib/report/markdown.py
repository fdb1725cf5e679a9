"""report.md: the report where there is no browser; the standard library alone makes it."""

from collections.abc import Sequence

from buildsys.steps.lib.report import engine_markdown
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report.formatting import escape
from buildsys.steps.lib.report.proof_values import Sight
from buildsys.steps.lib.report.values import Artifact, Comparison, Report, short


def render(report: Report) -> str:
    """The table of all builds, then what is not ready and why, then each build's proofs."""
    parts = [
        "# Build report",
        f"{words.counts(report.artifacts)}. Figures carry the sha256 of the file that they are of.",
        *_not_ready(report),
        *_regressions(report),
        *_overview(report),
        *engine_markdown.render(report),
        *(part for found in report.comparisons for part in _comparison(found)),
        *(_section(artifact) for artifact in report.artifacts if artifact.file),
        f"buildsys {escape(report.version)}",
    ]
    return "\n\n".join(parts) + "\n"


def _not_ready(report: Report) -> list[str]:
    rows = words.troubled(report.artifacts)
    if not rows:
        return []
    lines = [f"- **{escape(item.id)}**: {escape(item.detail or item.status)}" for item in rows]
    return ["## Not ready", "\n".join(lines)]


def _regressions(report: Report) -> list[str]:
    lines = [
        f"- **{escape(item.id)}**: {escape(words.worse(regression))}, file `{short(item.sha256)}`"
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
        *(f"ms, {label}" for label in labels),
        "arena KiB",
        "flash KiB",
    )
    rows = [_row(item, labels) for item in words.ordered(report.artifacts)]
    used = [i for i in range(len(header)) if i < 2 or any(row[i] for row in rows)]
    return ["## Builds", _table(header, rows, used)] if rows else []


def _comparison(found: Comparison) -> list[str]:
    header = (
        "build",
        "format",
        "scheme",
        "converter",
        "KiB",
        "operators",
        "TRANSPOSE",
        "mean ms",
        "min ms",
        "p50 ms",
        "ratio",
        "accuracy",
        "sha256",
    )
    rows = [
        (
            escape(words.sharers(row.builds)),
            escape(row.format),
            escape(row.scheme),
            escape(row.converter),
            words.kib(row.bytes),
            str(row.operators),
            str(row.transposes),
            words.ms(row.mean_ms),
            words.ms(row.min_ms),
            words.ms(row.p50_ms),
            f"{row.ratio:.2f}",
            escape(words.accuracy(row)),
            f"`{short(row.sha256)}`" + (" of an earlier file" if row.earlier else ""),
        )
        for row in found.rows
    ]
    told = f"{escape(words.rounds(found))}. Ratio: of the mean to the fastest's."
    return ["## Comparison", told[:1].upper() + told[1:], _table(header, rows, range(len(header)))]


def _row(item: Artifact, labels: tuple[str, ...]) -> tuple[str, ...]:
    accuracy = [
        f"{escape(name)} {words.score(after)}"
        + (f" ({words.drop(before, after)})" if before else "")
        for name, after, before in words.accuracy_rows(item)
    ]
    if accuracy and item.shipped and item.shipped.sha256 != item.sha256:
        of = f"of `{short(item.shipped.sha256)}`"
        of += ", the float32 ONNX file" if item.unmeasured else ""
        accuracy.append(f"{of}{words.unmeasured(item)}")
    speeds = [
        "; ".join(
            f"{words.ms(entry.mean_ms)} ({escape(words.machine(entry, item.label))}, `{short(entry.sha256)}`)"
            for entry in words.of_label(item, label)
        )
        for label in labels
    ]
    return (
        escape(item.id),
        escape(item.status),
        escape(item.file),
        words.kib(item.bytes) if item.bytes else "",
        f"`{short(item.sha256)}`" if item.sha256 else "",
        "; ".join(accuracy),
        *speeds,
        _budget(item, "arena"),
        _budget(item, "flash"),
    )


def _budget(item: Artifact, name: str) -> str:
    for budget in item.budgets:
        if budget.name == name:
            need = words.kib(budget.need_bytes)
            return f"{need} of {words.kib(budget.has_bytes)}" if budget.has_bytes else need
    return ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], used: Sequence[int]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line[i] for i in used) + " |" for line in lines)


def _section(item: Artifact) -> str:
    """One artifact: full digests, its ladder, what nobody has verified."""
    lines = [f"## {escape(item.id)}", ""]
    lines.append(f"- file: {escape(item.file)}, {item.bytes:,} bytes, sha256 `{item.sha256}`")
    if item.manifest_sha256:
        lines.append(f"- manifest: sha256 `{item.manifest_sha256}`")
    lines += [
        f"- {measured.name}: {_metrics(measured.metrics)}; {measured.pictures} pictures of"
        f" {escape(measured.split)}; sha256 `{measured.sha256}`"
        for measured in item.measured
    ]
    if item.calibration_sha256:
        lines.append(
            f"- calibration: {len(item.calibration)} pictures, list sha256 `{item.calibration_sha256}`"
        )
    lines += _ladder(item)
    lines += [line for sight in item.sights for line in _confidences(sight)]
    lines += ["- load test:"] if item.load else []
    lines += [f"  - {escape(name)}: {escape(text)}" for name, text in item.load]
    lines += [f"- {escape(note)}" for note in item.unverified]
    return "\n".join(lines)


def _confidences(sight: Sight) -> list[str]:
    """The best score of each class on a picture, by every form of the network."""
    forms = [words.form(view.form) for view in sight.views]
    return [
        f"- confidence on {escape(sight.name)}, {escape(name)}: "
        + ", ".join(f"{f} {words.score(s)}" for f, s in zip(forms, scores, strict=True))
        for name, scores in words.confidences(sight)
    ]


def _metrics(metrics: tuple[tuple[str, float], ...]) -> str:
    return ", ".join(f"{escape(name)} {words.score(value)}" for name, value in metrics)


def _ladder(item: Artifact) -> list[str]:
    if item.ladder is None:
        return []
    verdicts = {True: "holds", False: "FAILS", None: "not judged"}
    lines = [f"- parity ladder on {item.ladder.pictures} pictures: {verdicts[item.ladder.passed]}"]
    lines += [
        f"  - {escape(rung.start)} → {escape(rung.end)}: {verdicts[rung.passed]}"
        + (f"; {escape(rung.note)}" if rung.note else "")
        for rung in item.ladder.rungs
    ]
    return lines + [f"  - {escape(failure)}" for failure in item.ladder.failures]
