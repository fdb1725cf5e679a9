"""Draw accuracy over size and over latency, one point per build."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report import svg
from buildsys.steps.lib.report.values import Artifact, Report

_WIDTH, _HEIGHT = 3.8, 2.7
_MARK = 3.5
"""Half of a point's width in pixels."""
_LEAST_SPAN = 0.02
"""Smallest range of an accuracy axis: a tenth of it is noise."""
_MOST_METRICS = 4
_MOST_LABELS = 14
"""With more points than this, only points on the Pareto front are named."""
_DASHES = (0, (3, 2))


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One drawing: its file below the report, its title, its description, and its width and height
    in pixels.
    """

    file: str
    title: str
    alt: str
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """One build: x in KiB or milliseconds, y an accuracy."""

    x: float
    y: float
    text: str
    recipe: str
    rejected: bool
    images: int = 0


def draw(report: Report, folder: Path) -> tuple[Plot, ...]:
    """Draw every plot for which at least two builds have both figures."""
    metrics = dict.fromkeys(
        name for item in report.artifacts for name, _, _ in words.accuracy_rows(item)
    )
    axes = ["size", *words.labels(report.artifacts)]
    plots = []
    for axis in axes:
        for metric in tuple(metrics)[:_MOST_METRICS]:
            points = _points(report.artifacts, metric, axis)
            if len({point.x for point in points}) > 1:
                plots.append(_draw(points, metric, axis, folder))
    return tuple(plots)


def _points(artifacts: Iterable[Artifact], metric: str, axis: str) -> tuple[Point, ...]:
    """Return the points; a build's fastest figure under a label is used, the others are on its
    page, as are times of an unknown batch.
    """
    found = []
    rows = [item for item in artifacts if item.shipped is not None and not item.unmeasured]
    single = len({item.recipe_folder for item in rows}) == 1
    for item in rows:
        y = dict(item.shipped.metrics).get(metric) if item.shipped else None
        if axis == "size":
            x = item.bytes / 1024 if item.bytes else None
        else:
            entries = words.of_label(item, axis)
            x = min((entry.mean_ms / entry.batch for entry in entries if entry.batch), default=None)
        if x is not None and y is not None:
            text = item.target_folder if single else item.id
            images = item.shipped.pictures if item.shipped else 0
            rejected = item.status == "rejected"
            found.append(
                Point(x=x, y=y, text=text, recipe=item.recipe, rejected=rejected, images=images)
            )
    return tuple(sorted(found, key=lambda point: (point.x, -point.y, point.text)))


def _draw(points: tuple[Point, ...], metric: str, axis: str, folder: Path) -> Plot:
    unit = "KiB" if axis == "size" else f"ms per image, {axis}"
    what = "size" if axis == "size" else f"latency, {axis}"
    name = f"{axis.replace(' ', '-')}-{_safe(metric)}.svg"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _draw_points(points, unit)
    (folder / name).write_text(drawn.text, encoding="utf-8")
    best = max(points, key=lambda point: point.y)
    alt = (
        f"{metric} against {what} of {len(points)} builds;"
        f" the highest is {best.text} with {words.score(best.y)} at {words.number(best.x)} {unit}"
    )
    title = f"{metric} against {what}{_measured_on(points)}"
    size = {"width": drawn.width, "height": drawn.height}
    return Plot(file=f"plots/{name}", title=title, alt=alt, **size)


def _measured_on(points: tuple[Point, ...]) -> str:
    """Return ", on 300 images", or the smallest and largest number."""
    counts = sorted({point.images for point in points if point.images})
    if not counts:
        return ""
    few = f"{counts[0]:,} to " if len(counts) > 1 else ""
    return f", on {few}{counts[-1]:,} images"


def _safe(metric: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in metric)


def _draw_points(points: tuple[Point, ...], unit: str) -> svg.Drawing:
    groups = _groups(points)

    def paint(axes: Any) -> None:
        _mark(axes, points, groups)
        axes.margins(x=0.15, y=0.2)
        axes.autoscale_view()
        _widen(axes)
        _name(axes, points)

    return svg.draw(_WIDTH, _HEIGHT, paint, _legend(points, groups), unit)


Style = tuple[str, str, str]
"""Colour, marker, and the name in the legend."""


def _groups(points: tuple[Point, ...]) -> dict[Style, tuple[Point, ...]]:
    """Return points by style: one style per recipe, and one for rejected builds."""
    recipes = {
        name: i for i, name in enumerate(sorted({p.recipe for p in points if not p.rejected}))
    }
    groups: dict[Style, tuple[Point, ...]] = {}
    for point in points:
        style = (svg.BAD, "o", "rejected")
        if not point.rejected:
            index = recipes[point.recipe]
            marker = svg.MARKERS[index // len(svg.HUES) % len(svg.MARKERS)]
            style = (svg.HUES[index % len(svg.HUES)], marker, point.recipe)
        groups[style] = (*groups.get(style, ()), point)
    return dict(sorted(groups.items(), key=lambda item: (item[0][0] == svg.BAD, item[0][2])))


def _legend(points: tuple[Point, ...], groups: dict[Style, tuple[Point, ...]]) -> list[Any]:
    handles = [
        svg.line(name, colour, linewidth=0, marker=marker, markersize=5, **_face(colour))
        for colour, marker, name in groups
    ]
    if len(_front(points)) > 1:
        handles.append(
            svg.line("the best for its cost", svg.FAINT, linewidth=0.8, linestyle=_DASHES)
        )
    return handles


def _face(colour: str) -> dict[str, str]:
    return {"markerfacecolor": "none" if colour == svg.BAD else colour}


def _widen(axes: Any) -> None:
    """Widen an axis to its smallest range; an accuracy is at most 1."""
    low, high = axes.get_ylim()
    short = max(_LEAST_SPAN - (high - low), 0) / 2
    axes.set_ylim(low - short, min(high + short, 1.0))


def _mark(axes: Any, points: tuple[Point, ...], groups: dict[Style, tuple[Point, ...]]) -> None:
    """Draw the points, and a line through the Pareto front."""
    front = _front(points)
    if len(front) > 1:
        xs, ys = [p.x for p in front], [p.y for p in front]
        look: dict[str, Any] = {"color": svg.FAINT, "linewidth": 0.8, "linestyle": _DASHES}
        axes.step(xs, ys, where="post", zorder=1, **look)
    for (colour, marker, _), members in groups.items():
        axes.plot(
            [p.x for p in members],
            [p.y for p in members],
            marker,
            color=colour,
            markersize=5.5,
            clip_on=False,
            zorder=2,
            **_face(colour),
        )


def _front(points: tuple[Point, ...]) -> list[Point]:
    """Return the Pareto front of accepted builds, by x: each is better than all with smaller x."""
    front: list[Point] = []
    for point in points:
        if not point.rejected and (not front or point.y > front[-1].y):
            front.append(point)
    return front


def _name(axes: Any, points: tuple[Point, ...]) -> None:
    """Write names next to their points, where no other name or point is."""
    shown = points if len(points) <= _MOST_LABELS else tuple(_front(points))[-_MOST_LABELS:]
    edge = axes.get_window_extent()
    unit = svg.LETTERS / 72 * svg.DPI
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
                pixels = 72 / svg.DPI
                axes.annotate(
                    point.text,
                    (point.x, point.y),
                    xytext=(dx * pixels, dy * pixels),
                    textcoords="offset points",
                    ha=align,
                    fontsize=svg.LETTERS - 0.5,
                    color=svg.BAD if point.rejected else svg.INK,
                )
                break


def _touch(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
