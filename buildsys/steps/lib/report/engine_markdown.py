"""The table of engines in report.md."""

from collections.abc import Sequence

from buildsys.steps.lib.report import engine_table as engines
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report.engine_values import Metrics, Published, PublishedDevice
from buildsys.steps.lib.report.values import Report, short

_HEADER = (
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
_PRINTED = ("task", "precision", "ms, batch 1", "ms, batch {batch}", "accuracy", "against float32")


def render(report: Report) -> list[str]:
    """Device by device, with the published figures of such a device; nothing without engines."""
    found = engines.groups(report)
    if not found or report.published is None:
        return []
    parts = ["## Engines"]
    for group in found:
        told = f"{group.tool}; {group.where}" if group.where else group.tool
        parts += [
            f"### {words.escape(group.label)}",
            f"{words.escape(told)}.{' ' + _OF_BATCH if group.timed else ''}",
        ]
        parts.append(table(_HEADER, [_row(row, group) for row in group.rows]))
        parts += _published(group.published, report.published) if group.published else []
    return [*parts, *_sources(report.published)]


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """As Markdown has it; cells are escaped already."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(row: engines.Row, group: engines.Group) -> tuple[str, ...]:
    accuracy = ""
    if row.measured is not None:
        of = f"of the {engines.source(row)} `{short(row.measured.sha256)}`{words.unmeasured(row.item)}"
        accuracy = f"{_metrics(row.metrics, 4)}, {of}"
    return (
        words.escape(row.item.id),
        row.facts.task,
        row.facts.scheme,
        f"{engines.batch(row)} × {engines.side(row)}",
        _times(row, group),
        accuracy,
        f"{words.kib(row.bytes)} ({row.file})" if row.bytes else "",
        _ratios(row.ratios),
    )


def _times(row: engines.Row, group: engines.Group) -> str:
    entry = row.timed
    if entry is None:
        return words.escape(engines.standing(row))
    told = []
    for name, figure in (("", row.alone), ("end to end ", row.whole)):
        if figure is not None:
            spread = words.spread(figure)
            told.append(f"{name}{words.ms(figure.mean_ms)}" + (f" ({spread})" if spread else ""))
    told += [] if group.where else [words.escape(engines.where(row))]
    told += [f"of an engine that is not here, `{short(entry.sha256)}`"] if entry.earlier else []
    return "; ".join(told)


def _metrics(rows: Metrics, digits: int) -> str:
    return ", ".join(f"{words.escape(name)} {value:.{digits}f}" for name, value in rows)


def _ratios(found: engines.Ratios | None, digits: int = 4) -> str:
    if found is None:
        return ""
    told = [f"time {words.times(found.latency)}"] if found.latency else []
    told += [f"size {words.times(found.size)}"] if found.size else []
    told += [f"{words.escape(name)} {words.change(value, digits)}" for name, value in found.metrics]
    return ", ".join(told)


def _published(device: PublishedDevice, source: Published) -> list[str]:
    about = (
        f"Published for {device.device}: {source.model}, {source.size} pixels, TensorRT"
        f" {device.tensorrt}, Ultralytics {device.ultralytics}, {device.system}. {device.note} {source.caveat}"
    )
    rows = [
        (
            row.task,
            row.scheme,
            words.ms(row.single_ms),
            f"{words.ms(row.mean_ms)} ({words.ms(row.min_ms)} to {words.ms(row.max_ms)})",
            _metrics(engines.key_metrics(row.metrics), 2),
            _ratios(engines.published_ratios(row, device), 2),
        )
        for row in device.rows
    ]
    header = tuple(name.format(batch=source.batch) for name in _PRINTED)
    return [words.escape(about), table(header, rows)]


def _sources(source: Published) -> list[str]:
    """Where the published figures were read; those of devices that no build is for are on the page."""
    told = f"{source.source}, {source.page}, {source.file} at {short(source.commit)}, read on {source.read}."
    return [
        words.escape(f"Published figures: {told} {source.about} Nothing of it was measured here.")
    ]
