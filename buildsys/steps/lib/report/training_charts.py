"""Draw a training's curves over its epochs, and precision over recall, as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.metrics import curves as measured_curves
from buildsys.steps.lib.metrics.curves import ClassCurve, Curves, Measured
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report import svg
from buildsys.steps.lib.report.charts import Plot
from buildsys.steps.lib.training.training_files import Row, Summary

_WIDTH, _HEIGHT = 3.8, 2.2
_SQUARE = 3.3
"""Height of the precision over recall chart in inches."""
_DASHES = (0, (4, 2))
_DOTS = (0, (1, 1.6))
_MOST_CLASSES = 5
"""Maximum number of classes with their own coloured line; with more only the mean has a colour."""
_WORDS = {
    "cls": "classes",
    "dfl": "box edges (dfl)",
    "kobj": "keypoints' visibility",
    "pose": "keypoints",
    "seg": "masks",
    "rle": "keypoints (rle)",
    "iou": "box",
    "obj": "objects",
}
"""Titles of losses by Ultralytics' and YOLOX's names; others keep their names."""


@dataclass(frozen=True, kw_only=True)
class _Series:
    """A line over epochs, with the values that exist."""

    label: str
    colour: str
    values: tuple[tuple[int, float], ...]
    dashed: bool = False


def draw_training(
    rows: list[Row], summary: Summary, task: str, folder: Path, place: str
) -> tuple[tuple[Plot, ...], tuple[Plot, ...]]:
    """Draw (losses, accuracies), one drawing each, into `folder`, whose URL on the page is `place`.
    A training of one epoch has no curve.
    """
    losses = [_loss(rows, name) for name in _names(rows, "train/")]
    plots = [
        _draw_epochs(f"loss-{name}", f"Loss: {_word(name)}", series, summary, folder, place)
        for name, series in zip(_names(rows, "train/"), losses, strict=True)
    ]
    kinds = find_accuracies(rows, task)
    found = [
        _draw_epochs(f"accuracy-{name}", f"Accuracy: {name}", series, summary, folder, place)
        for name, series in kinds.items()
    ]
    return tuple(p for p in plots if p is not None), tuple(p for p in found if p is not None)


def draw_recall(
    shown: Measured, before: Measured | None, names: tuple[str, str], folder: Path, place: str
) -> tuple[Plot, ...]:
    """Draw precision over recall, one drawing per kind. `names`: names of the file, and of the file
    `before`, whose mean is a dashed line.
    """
    earlier = {item.kind: item for item in before.curves} if before else {}
    return tuple(
        _draw_recall(item, earlier.get(item.kind), names, shown.pictures, folder, place)
        for item in shown.curves
        if item.classes
    )


def _names(rows: list[Row], prefix: str) -> tuple[str, ...]:
    """Return the columns with a prefix, without Ultralytics' suffix `_loss`."""
    found = dict.fromkeys(name for row in rows for name in row if name.startswith(prefix))
    return tuple(name.removeprefix(prefix).removesuffix("_loss") for name in found)


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _values(rows: list[Row], *columns: str) -> tuple[tuple[int, float], ...]:
    """Return (epoch, value) of the first of these columns that a row has."""
    found = []
    for number, row in enumerate(rows, 1):
        value = next((row[name] for name in columns if name in row), None)
        found += [] if value is None else [(number, value)]
    return tuple(found)


def _loss(rows: list[Row], name: str) -> tuple[_Series, ...]:
    def values(part: str) -> tuple[tuple[int, float], ...]:
        return _values(rows, f"{part}/{name}_loss", f"{part}/{name}")

    training = _Series(label="training", colour=svg.HUES[0], values=values("train"))
    checked = _Series(label="validation", colour=svg.HUES[1], values=values("val"), dashed=True)
    return training, checked


def find_accuracies(rows: list[Row], task: str) -> dict[str, tuple[_Series, ...]]:
    """Return the accuracies after epochs by kind, each with a strict and a lenient figure."""
    first = "turned boxes" if task == "obb" else "boxes"
    pairs = {
        first: ("mAP50-95(B)", "mAP50(B)"),
        "keypoints": ("mAP50-95(P)", "mAP50(P)"),
        "masks": ("mAP50-95(M)", "mAP50(M)"),
        "classes": ("accuracy_top1", "accuracy_top5"),
    }
    found = {}
    for kind, columns in pairs.items():
        series = [
            _Series(
                label=column.split("(")[0].replace("accuracy_top", "top-"),
                colour=svg.HUES[2 * index],
                values=_values(rows, f"metrics/{column}"),
                dashed=bool(index),
            )
            for index, column in enumerate(columns)
        ]
        if series[0].values:
            found[kind] = tuple(item for item in series if item.values)
    return found


def _draw_epochs(
    name: str, title: str, series: Sequence[_Series], summary: Summary, folder: Path, place: str
) -> Plot | None:
    """Draw lines over epochs, and mark the epoch whose weights were kept."""
    lines = [item for item in series if len(item.values) > 1]
    if not lines:
        return None
    kept = summary.kept if summary.best else 0

    def paint(axes: Any) -> None:
        from matplotlib.ticker import MaxNLocator

        for item in lines:
            style = _DASHES if item.dashed else "-"
            xs, ys = zip(*item.values, strict=True)
            axes.plot(xs, ys, color=item.colour, linewidth=1.4, linestyle=style)
        if kept:
            axes.axvline(kept, color=svg.FAINT, linewidth=0.9, linestyle=_DOTS)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.margins(x=0.02, y=0.08)

    legend = [
        svg.line(item.label, item.colour, linestyle=_DASHES if item.dashed else "-")
        for item in lines
    ]
    if kept:
        legend.append(svg.line(f"kept: epoch {kept}", svg.FAINT, linewidth=0.9, linestyle=_DOTS))
    ends = "; ".join(
        f"{item.label} from {words.number(item.values[0][1])} to {words.number(item.values[-1][1])}"
        for item in lines
    )
    drawn = svg.draw(_WIDTH, _HEIGHT, paint, legend, "epoch")
    return _write(drawn, name, title, f"{title} over {summary.ran} epochs: {ends}", folder, place)


def _draw_recall(
    shown: Curves,
    before: Curves | None,
    names: tuple[str, str],
    images: int,
    folder: Path,
    place: str,
) -> Plot:
    recalls = [step / (measured_curves.STEPS - 1) for step in range(measured_curves.STEPS)]
    own, earlier = names
    each = shown.classes if 1 < len(shown.classes) <= _MOST_CLASSES else ()
    best = shown.best
    mean = own if len(shown.classes) == 1 else f"{own}, mean of {len(shown.classes)} classes"
    lines: list[tuple[str, str, float, Any, tuple[float, ...]]]
    lines = [(mean, svg.INK, 1.8, "-", _mean(shown.classes))]
    if before is not None and before.classes:
        lines.append((earlier, svg.FAINT, 1.2, _DASHES, _mean(before.classes)))
    lines += [
        (item.name, svg.HUES[index], 1.0, "-", item.precision) for index, item in enumerate(each)
    ]

    def paint(axes: Any) -> None:
        for _, colour, width, style, values in reversed(lines):
            known = [(x, y) for x, y in zip(recalls, values, strict=True) if y > 0]
            if known:
                xs, ys = zip(*known, strict=True)
                axes.plot(xs, ys, color=colour, linewidth=width, linestyle=style)
        axes.plot([best.recall], [best.precision], "o", color=svg.BAD, markersize=5, zorder=4)
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("precision")

    legend = [
        svg.line(_cut(label), colour, linewidth=width, linestyle=style)
        for label, colour, width, style, _ in lines
    ]
    legend.append(
        svg.line(
            f"best F1 {best.f1:.2f}: confidence {best.confidence:.2f}",
            svg.BAD,
            linewidth=0,
            marker="o",
            markersize=5,
        )
    )
    drawn = svg.draw(_WIDTH, _SQUARE, paint, legend, "recall")
    title = f"Precision over recall: {shown.kind}, on {images:,} images"
    alt = (
        f"{title}; the best F1 is {best.f1:.2f} at a confidence of {best.confidence:.2f}, with"
        f" precision {best.precision:.2f} and recall {best.recall:.2f}"
    )
    return _write(drawn, f"recall-{shown.kind}", title, alt, folder, place)


def _mean(classes: tuple[ClassCurve, ...]) -> tuple[float, ...]:
    """Return the mean precision at each recall."""
    return tuple(
        sum(values) / len(values)
        for values in zip(*(item.precision for item in classes), strict=True)
    )


def _cut(label: str) -> str:
    return label if len(label) <= 30 else f"{label[:29]}…"


def _write(drawn: svg.Drawing, name: str, title: str, alt: str, folder: Path, place: str) -> Plot:
    folder.mkdir(parents=True, exist_ok=True)
    file = "".join(c if c.isalnum() or c in ".-" else "-" for c in name) + ".svg"
    (folder / file).write_text(drawn.text, encoding="utf-8")
    size = {"width": drawn.width, "height": drawn.height}
    return Plot(file=f"{place}/{file}", title=title, alt=alt, **size)
