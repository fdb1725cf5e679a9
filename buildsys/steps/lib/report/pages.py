"""index.html and a page a build, from Jinja2 templates; whatever people wrote is escaped."""

import os
import shutil
from pathlib import Path
from typing import Any

from buildsys.steps.lib.report import engine_table as engines
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report.charts import Plot
from buildsys.steps.lib.report.values import LABELS, Artifact, Report, per_class, short

_VERDICTS = {True: ("good", "holds"), False: ("bad", "fails"), None: ("quiet", "not judged")}


def write(
    report: Report, plots: tuple[Plot, ...], pictures: Path, templates: Path, target: Path
) -> None:
    """`pictures`: drawings by their tree's digest; `target`: where index.html goes."""
    environment = _environment(templates)
    page, index = environment.get_template("artifact.html"), environment.get_template("index.html")
    shutil.copyfile(templates / "style.css", target / "style.css")
    for item in report.artifacts:
        if item.has_page:
            place = target / item.page
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(page.render(report=report, item=item, root="../"), encoding="utf-8")
            _copy_drawings(item, pictures / item.drawings, place.with_suffix(""))
    text = index.render(report=report, plots=plots, root="")
    (target / "index.html").write_text(text, encoding="utf-8")
    if any(item.engine for item in report.artifacts):
        text = environment.get_template("engines.html").render(report=report, root="")
        (target / "engines.html").write_text(text, encoding="utf-8")


def _copy_drawings(item: Artifact, source: Path, target: Path) -> None:
    for name in (view.drawing for image in item.sights for view in image.views):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / os.path.basename(name), target / os.path.basename(name))


def _environment(templates: Path) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "drop": lambda pair: words.drop(*pair),
        "kib": words.kib,
        "machine": words.machine,
        "ms": words.ms,
        "number": words.number,
        "percent": words.percent,
        "score": words.score,
        "form": words.form,
        "share": words.share,
        "short": short,
        "tone": words.tone,
        "worse": words.worse,
        "basename": os.path.basename,
        "url": _url,
        "accuracy": words.accuracy,
        "rounds": words.rounds,
        "spread": words.spread,
        "times": words.times,
        "unmeasured": words.unmeasured,
        "standing": engines.standing,
        "batch": engines.batch,
        "side": engines.side,
        "change": words.change,
        "source": engines.source,
        "where": engines.where,
    }
    environment.globals |= {
        "accuracy_rows": words.accuracy_rows,
        "confidences": words.confidences,
        "counts": words.counts,
        "labels": words.labels,
        "of_label": words.of_label,
        "ordered": words.ordered,
        "troubled": words.troubled,
        "per_class": per_class,
        "verdict": _VERDICTS.get,
        "LABELS": LABELS,
        "engine_groups": engines.groups,
        "other_devices": engines.others,
        "key_metrics": engines.key_metrics,
        "published_ratios": engines.published_ratios,
    }
    return environment


def _url(path: str) -> str:
    from urllib.parse import quote

    return quote(path)
