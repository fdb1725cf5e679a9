"""Render the report of all builds: pages that need no server and no JavaScript, and report.md."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Resources, StepSpec

STEP = StepSpec(
    tool_env="report",
    resources=Resources(memory_mib=300),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """No parameters: everything is in the data."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Render. `inputs`: `data` with report.json and files/<digest>; `templates`: the pages and
    style.css.

    `outputs`: `report` with index.html, a page per build at <recipe>/<target>.html and one per
    training, their images next to them, plots as SVG, report.md.
    """
    from buildsys.steps.lib.report import charts, markdown, pages, values

    report = values.load(inputs["data"] / "report.json")
    target = outputs["report"]
    target.mkdir(parents=True, exist_ok=True)
    (target / "report.md").write_text(markdown.render(report), encoding="utf-8")
    plots = charts.draw(report, target / "plots")
    pages.write(report, plots, inputs["data"] / "files", inputs["templates"], target)
