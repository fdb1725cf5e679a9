"""Accuracy against size and against latency, as SVG with the same bytes on every machine.

Colours are CSS variables that the file itself sets for light and dark; text stays text.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report.values import Artifact, Report

_INK, _FAINT, _BAD = "#1c1b19", "#8a867f", "#b3342b"
_HUES = ("#2f6f9f", "#b0662a", "#4c8055", "#7d5a94", "#6f6a2c")
"""One a recipe, over again when there are more."""
_DARK = {
    _INK: "#e8e5df",
    _FAINT: "#8d8980",
    _BAD: "#e5786d",
    _HUES[0]: "#79b4dd",
    _HUES[1]: "#e0a06c",
    _HUES[2]: "#86c191",
    _HUES[3]: "#bd9bd3",
    _HUES[4]: "#bdb765",
}
_WIDTH, _HEIGHT, _DPI = 3.8, 2.8, 100
_LETTERS = 8.0
_MARK = 3.5
"""Half a point's width in pixels."""
_LEAST_SPAN = 0.02
"""Of an accuracy's axis: what is a tenth of that apart is noise."""
_MOST_METRICS = 4
_MOST_LABELS = 14
"""With more points than this only those are named that no other beats in both."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One drawing: its file below the report, what it shows, and the same in a sentence."""

    file: str
    title: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """One build: x in KiB or milliseconds, y an accuracy."""

    x: float
    y: float
    text: str
    recipe: str
    good: bool


def draw(report: Report, folder: Path) -> tuple[Plot, ...]:
    """Every plot for which at least one build has both figures."""
    metrics = dict.fromkeys(
        name for item in report.artifacts for name, _, _ in words.accuracy_rows(item)
    )
    axes = ["size", *words.labels(report.artifacts)]
    plots = []
    for axis in axes:
        for metric in tuple(metrics)[:_MOST_METRICS]:
            points = _points(report.artifacts, metric, axis)
            if points:
                plots.append(_draw(points, metric, axis, folder))
    return tuple(plots)


def _points(artifacts: Iterable[Artifact], metric: str, axis: str) -> tuple[Point, ...]:
    """A build's fastest figure under a label stands for it: the others are on its page."""
    found = []
    rows = [item for item in artifacts if item.shipped is not None and not item.unmeasured]
    single = len({item.recipe_folder for item in rows}) == 1
    for item in rows:
        y = dict(item.shipped.metrics).get(metric) if item.shipped else None
        if axis == "size":
            x = item.bytes / 1024 if item.bytes else None
        else:
            x = min((e.mean_ms for e in words.of_label(item, axis)), default=None)
        if x is not None and y is not None:
            text = item.target_folder if single else item.id
            found.append(Point(x=x, y=y, text=text, recipe=item.recipe, good=item.good))
    return tuple(sorted(found, key=lambda point: (point.x, -point.y, point.text)))


def _draw(points: tuple[Point, ...], metric: str, axis: str, folder: Path) -> Plot:
    unit = "KiB" if axis == "size" else f"ms, {axis}"
    what = "size" if axis == "size" else f"latency, {axis}"
    name = f"{axis.replace(' ', '-')}-{_safe(metric)}.svg"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(_svg(points, metric, unit), encoding="utf-8")
    best = max(points, key=lambda point: point.y)
    alt = (
        f"{metric} against {what} of {len(points)} builds;"
        f" the highest is {best.text} with {words.score(best.y)} at {words.number(best.x)} {unit}"
    )
    return Plot(file=f"plots/{name}", title=f"{metric} against {what}", alt=alt)


def _safe(metric: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in metric)


def _svg(points: tuple[Point, ...], metric: str, unit: str) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "buildsys",
        "font.size": _LETTERS,
        "axes.edgecolor": _FAINT,
        "axes.labelcolor": _INK,
        "xtick.color": _FAINT,
        "ytick.color": _FAINT,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "text.color": _INK,
        "text.parse_math": False,
        "axes.linewidth": 0.6,
    }
    with mpl.rc_context(settings):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
        axes = figure.subplots()
        figure.subplots_adjust(left=0.13, right=0.97, top=0.91, bottom=0.18)
        _mark(axes, points)
        axes.set_xlabel(unit, loc="right")
        axes.set_title(metric, loc="left", fontsize=_LETTERS, color=_INK)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=3, width=0.6)
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.locator_params(nbins=5)
        axes.margins(x=0.15, y=0.2)
        axes.autoscale_view()
        _widen(axes)
        _name(axes, points)
        stream = io.StringIO()
        figure.savefig(
            stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    return _adapt(stream.getvalue())


def _widen(axes: Any) -> None:
    """Differences that mean nothing do not fill the plot; nothing is better than 1."""
    low, high = axes.get_ylim()
    short = max(_LEAST_SPAN - (high - low), 0) / 2
    axes.set_ylim(low - short, min(high + short, 1.0))


def _mark(axes: Any, points: tuple[Point, ...]) -> None:
    """The points, and a line through those that no other beats in both."""
    recipes = {name: i for i, name in enumerate(sorted({p.recipe for p in points}))}
    front = _front(points)
    if len(front) > 1:
        axes.step(
            [p.x for p in front],
            [p.y for p in front],
            where="post",
            color=_FAINT,
            linewidth=0.6,
            dashes=(3, 2),
            zorder=1,
        )
    groups: dict[tuple[str, bool], list[Point]] = {}
    for point in points:
        colour = _HUES[recipes[point.recipe] % len(_HUES)] if point.good else _BAD
        groups.setdefault((colour, point.good), []).append(point)
    for (colour, good), members in groups.items():
        axes.plot(
            [p.x for p in members],
            [p.y for p in members],
            "o",
            color=colour,
            markersize=5.5,
            markerfacecolor=colour if good else "none",
            clip_on=False,
            zorder=2,
        )


def _front(points: tuple[Point, ...]) -> list[Point]:
    """Of those that ship, by x: each better than all that cost less."""
    front: list[Point] = []
    for point in points:
        if point.good and (not front or point.y > front[-1].y):
            front.append(point)
    return front


def _name(axes: Any, points: tuple[Point, ...]) -> None:
    """Names beside their points, where neither another name stands nor another point."""
    shown = points if len(points) <= _MOST_LABELS else tuple(_front(points))[-_MOST_LABELS:]
    edge = axes.get_window_extent()
    unit = _LETTERS / 72 * _DPI
    places = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [(x - _MARK, y - _MARK, x + _MARK, y + _MARK) for x, y in places]
    for point in shown:
        x, y = axes.transData.transform((point.x, point.y))
        width = 0.56 * unit * len(point.text)
        for dx, dy, align in (
            (6, 4, "left"),
            (-6, 4, "right"),
            (6, -10, "left"),
            (-6, -10, "right"),
            (6, 16, "left"),
            (-6, 16, "right"),
            (6, -22, "left"),
            (-6, -22, "right"),
        ):
            left = x + dx if align == "left" else x + dx - width
            box = (left, y + dy - 2, left + width, y + dy + unit)
            inside = box[0] >= edge.x0 and box[2] <= axes.figure.bbox.x1 and box[3] <= edge.y1 + 4
            if inside and not any(_touch(box, other) for other in taken):
                taken.append(box)
                pixels = 72 / _DPI
                axes.annotate(
                    point.text,
                    (point.x, point.y),
                    xytext=(dx * pixels, dy * pixels),
                    textcoords="offset points",
                    ha=align,
                    fontsize=_LETTERS - 0.5,
                    color=_INK if point.good else _BAD,
                )
                break


def _touch(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _adapt(svg: str) -> str:
    """Colours as variables with a light and a dark value, fonts as the reader's own."""
    names = {colour: f"--c{index}" for index, colour in enumerate(_DARK)}
    for colour, name in names.items():
        svg = svg.replace(colour, f"var({name})")
    svg = svg.replace("'DejaVu Sans', ", "").replace("DejaVu Sans,", "")
    light = ";".join(f"{name}:{colour}" for colour, name in names.items())
    dark = ";".join(f"{name}:{_DARK[colour]}" for colour, name in names.items())
    style = (
        f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
        "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Arial,sans-serif!important}"
        "</style>"
    )
    head, mark, rest = svg.partition("<defs>")
    return head + style + mark + rest
