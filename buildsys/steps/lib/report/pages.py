"""Render index.html, a page per build and a page per training, from Jinja2 templates; user text is
escaped.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from buildsys.escaping import terminal
from buildsys.steps.lib.heads.thresholds import CONFIDENCE
from buildsys.steps.lib.metrics import curves
from buildsys.steps.lib.metrics.curves import Confusion, Measured
from buildsys.steps.lib.report import engine_table as engines
from buildsys.steps.lib.report import formatting as words
from buildsys.steps.lib.report import training_charts, training_reading
from buildsys.steps.lib.report.charts import Plot
from buildsys.steps.lib.report.formatting import Group
from buildsys.steps.lib.report.values import (
    LABELS,
    Artifact,
    Report,
    Training,
    headline,
    per_class,
    short,
)
from buildsys.steps.lib.training import training_files

_VERDICTS = {True: ("good", "holds"), False: ("bad", "fails"), None: ("quiet", "not judged")}
_MOST_CLASSES = 16
"""Largest number of classes, with background, of a confusion matrix that is shown completely."""
_MOST_MISTAKES = 20
_SHOWN_IMAGES = 2
"""Number of images of a build that are not collapsed."""
_BACKGROUND = "background"


def write(
    report: Report, plots: tuple[Plot, ...], files: Path, templates: Path, target: Path
) -> None:
    """Write all pages. `files`: drawings, trainings and curves by their digests; `target`: folder
    of index.html.
    """
    environment = _environment(templates)
    page, index = environment.get_template("artifact.html"), environment.get_template("index.html")
    shutil.copyfile(templates / "style.css", target / "style.css")
    for item in report.artifacts:
        if item.has_page:
            place = target / item.page
            place.parent.mkdir(parents=True, exist_ok=True)
            shown = _findings(item, files, place.with_suffix(""))
            text = page.render(report=report, item=item, root="../", **shown)
            place.write_text(text, encoding="utf-8")
            _copy_drawings(item, files / item.drawings, place.with_suffix(""))
    for training in report.trainings:
        _write_training(environment, report, training, files, target)
    text = index.render(report=report, plots=plots, root="")
    (target / "index.html").write_text(text, encoding="utf-8")
    if any(item.engine for item in report.artifacts):
        text = environment.get_template("engines.html").render(report=report, root="")
        (target / "engines.html").write_text(text, encoding="utf-8")


def _copy_drawings(item: Artifact, source: Path, target: Path) -> None:
    for name in (view.drawing for image in item.sights for view in image.views):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / os.path.basename(name), target / os.path.basename(name))


def _findings(item: Artifact, files: Path, folder: Path) -> dict[str, Any]:
    """Return what the shipped file finds, compared with the original: `found`, `found_name`,
    `recalls`.
    """
    shown, before = item.judged, item.original
    found = _read_curves(dict(item.curves).get(shown.name, ""), files) if shown else None
    if shown is None or found is None:
        return {"found": None, "found_name": "", "recalls": ()}
    first = before.name if before is not None and before.name != shown.name else ""
    earlier = _read_curves(dict(item.curves).get(first, ""), files)
    place = f"{item.recipe_folder}/{item.target_folder}"
    plots = training_charts.draw_recall(found, earlier, (shown.name, first), folder, place)
    return {"found": found, "found_name": f"the {shown.name} file", "recalls": plots}


def _read_curves(digest: str, files: Path) -> Measured | None:
    try:
        return curves.read(files / digest) if digest else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_training(
    environment: Any, report: Report, training: Training, files: Path, target: Path
) -> None:
    """Write the page of a training with its drawings; nothing if its files have another format."""
    source, place = files / training.files, training.page.removesuffix(".html")
    try:
        rows, summary = training_reading.read(source)
    except (OSError, ValueError, TypeError):
        return
    folder = target / place
    losses, accuracies = training_charts.draw_training(rows, summary, training.task, folder, place)
    found = _read_curves(training.curves, files)
    names = ("checkpoint", "")
    recalls = training_charts.draw_recall(found, None, names, folder, place) if found else ()
    text = environment.get_template("training.html").render(
        report=report,
        root="../",
        training=training,
        summary=summary,
        losses=losses,
        accuracies=accuracies,
        values=_single_values(rows) if not losses and not accuracies else (),
        headlines=_headlines(training),
        found=found,
        recalls=recalls,
        examples=_copy_examples(source, folder, place),
        builds=[item for item in report.artifacts if item.id in training.builds],
    )
    (target / training.page).parent.mkdir(parents=True, exist_ok=True)
    (target / training.page).write_text(text, encoding="utf-8")


def _headlines(training: Training) -> tuple[tuple[str, float], ...]:
    """Return the checkpoint's main accuracy metrics."""
    measured = training.measured
    if measured is None:
        return ()
    figures = dict(measured.metrics)
    return tuple((name, figures[name]) for name in headline(measured.metrics))


def _single_values(rows: list[training_files.Row]) -> tuple[tuple[str, str], ...]:
    """Return a training's values as a table, if there is only one epoch and thus no curve."""
    return tuple((name, words.number(value)) for row in rows[-1:] for name, value in row.items())


def _copy_examples(source: Path, folder: Path, place: str) -> tuple[str, ...]:
    names = sorted(path.name for path in (source / training_files.EXAMPLES).glob("*.jpg"))
    for name in names:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / training_files.EXAMPLES / name, folder / name)
    return tuple(f"{place}/{name}" for name in names)


def _confusion_names(found: Confusion) -> tuple[str, ...]:
    """Return the names of rows and columns; whole images have no background."""
    return (*found.classes, _BACKGROUND) if found.confidence else found.classes


def _confusion_rows(
    found: Confusion,
) -> tuple[tuple[str, tuple[tuple[int, float], ...]], ...]:
    """Return (found as, (count, share) per labelled class): shares of the labelled objects, or of
    the found ones for the background.
    """
    names, counts = _confusion_names(found), found.counts
    last = len(found.classes)
    sums = [sum(row[column] for row in counts) for column in range(len(names))]
    rows = []
    for name, row in zip(names, counts, strict=False):
        of = [sum(row) if column == last else sums[column] for column in range(len(names))]
        cells = ((count, count / (total or 1)) for count, total in zip(row, of, strict=False))
        rows.append((name, tuple(cells)))
    return tuple(rows)


def _confusions(found: Confusion) -> tuple[tuple[str, str, int], ...]:
    """Return (labelled, found as, count) of the most frequent mistakes."""
    names = _confusion_names(found)
    rows = [
        (names[j], names[i], found.counts[i][j])
        for i in range(len(names))
        for j in range(len(names))
        if i != j and found.counts[i][j]
    ]
    return tuple(sorted(rows, key=lambda row: (-row[2], row[0], row[1]))[:_MOST_MISTAKES])


def _trainings_of(report: Report, group: Group) -> tuple[Training, ...]:
    """Return the trainings of a recipe's builds, each once."""
    used = {item.training for item in group.built}
    return tuple(found for found in report.trainings if found.files in used)


def _visible(value: Any) -> Any:
    """Return a value for a template, with characters that hide or reorder others written out. Jinja
    calls it before it escapes; existing markup (a macro's text) stays markup.
    """
    if hasattr(value, "__html__"):
        return type(value)(terminal(value))
    return terminal(value) if isinstance(value, str) else value


def _environment(templates: Path) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "cause_of": words.cause_of,
        "conditions": words.conditions,
        "first_lines": words.first_lines,
        "kernels": words.kernels,
        "measured_on": words.measured_on,
        "places_of": words.places_of,
        "percentiles": words.percentiles,
        "short_name": words.short_name,
        "sigmas": words.sigmas,
        "drop": lambda pair: words.drop(*pair),
        "kib": words.kib,
        "need_kib": words.need_kib,
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
        "of_batch": words.batch,
        "side": engines.side,
        "change": words.change,
        "source": engines.source,
        "where": engines.where,
    }
    environment.globals |= {
        "accuracy_rows": words.accuracy_rows,
        "confidences": words.confidences,
        "CONFIDENCE": CONFIDENCE,
        "counts": words.counts,
        "labels": words.labels,
        "of_label": words.of_label,
        "images": words.images,
        "other_file": words.other_file,
        "by_recipe": words.by_recipe,
        "by_status": words.by_status,
        "causes": words.causes,
        "differing": words.differing,
        "confusion_names": _confusion_names,
        "confusion_rows": _confusion_rows,
        "confusions": _confusions,
        "most_classes": _MOST_CLASSES,
        "shown_images": _SHOWN_IMAGES,
        "trainings_of": _trainings_of,
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
