"""Draw with matplotlib, as SVG files with the same bytes on every machine.

Colours are CSS variables that the file sets for light and dark; text stays text.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from buildsys.escaping import terminal

INK, FAINT, BAD = "#1c1b19", "#77736c", "#b3342b"
HUES = ("#2f6f9f", "#b0662a", "#4c8055", "#7d5a94", "#6f6a2c")
MARKERS = ("o", "s", "^", "D", "v")
"""Markers by group of five series, because colours repeat after five."""
_DARK = {
    INK: "#e8e5df",
    FAINT: "#97938a",
    BAD: "#e5786d",
    HUES[0]: "#79b4dd",
    HUES[1]: "#e0a06c",
    HUES[2]: "#86c191",
    HUES[3]: "#bd9bd3",
    HUES[4]: "#bdb765",
}
DPI, LETTERS = 100, 8.0
_MARGINS = (0.55, 0.14, 0.42)
"""Margins left, right and below the axes, in inches."""
_ROW = 0.17
"""Height of a legend row in inches."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG file's text, and its natural size in CSS pixels."""

    text: str
    width: int
    height: int


def draw(
    width: float, height: float, paint: Callable[[Any], None], legend: Sequence[Any], unit: str
) -> Drawing:
    """Draw one pair of axes, `width` by `height` inches without the legend above them. `paint`
    draws on the axes; `legend`: matplotlib's handles, each with its label; `unit`: that of the
    horizontal axis.
    """
    import matplotlib as mpl

    mpl.use("svg")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": "buildsys",
        "font.size": LETTERS,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "text.color": INK,
        "text.parse_math": False,
        "axes.linewidth": 0.6,
    }
    with mpl.rc_context(settings):
        from matplotlib.figure import Figure

        columns, rows = _layout(width, legend)
        above = 0.12 + rows * _ROW
        tall = height + rows * _ROW
        left, right, below = _MARGINS
        figure = Figure(figsize=(width, tall), dpi=DPI)
        axes = figure.add_axes(
            (left / width, below / tall, 1 - (left + right) / width, 1 - (below + above) / tall)
        )
        axes.set_xlabel(unit, loc="right")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=3, width=0.6)
        axes.ticklabel_format(useOffset=False, style="plain")
        axes.locator_params(nbins=5)
        paint(axes)
        figure.legend(
            handles=list(legend),
            loc="upper left",
            bbox_to_anchor=(0.06 / width, 1.0),
            ncols=columns,
            frameon=False,
            fontsize=LETTERS,
            borderaxespad=0.1,
            handlelength=1.6,
            handletextpad=0.5,
            columnspacing=1.3,
            labelspacing=0.25,
        )
        stream = io.StringIO()
        figure.savefig(
            stream, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    size = {"width": round(width * DPI), "height": round(tall * DPI)}
    return Drawing(text=terminal(_adapt(stream.getvalue())), **size)


def _layout(width: float, legend: Sequence[Any]) -> tuple[int, int]:
    """Return (columns, rows) of a legend: as many columns as fit with its widest entry."""
    longest = max(len(str(item.get_label())) for item in legend)
    inches = 0.36 + longest * 0.56 * LETTERS / 72
    columns = max(1, min(len(legend), int((width - 0.1) / inches)))
    return columns, -(-len(legend) // columns)


def line(label: str, colour: str, **style: Any) -> Any:
    """Return a line of the legend, or a point if `marker` is given."""
    from matplotlib.lines import Line2D

    look = {"linewidth": 1.4, **style}
    return Line2D([], [], color=colour, label=label, **look)


def _adapt(svg: str) -> str:
    """Replace colours by variables with a light and a dark value, and fonts by the reader's own."""
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
