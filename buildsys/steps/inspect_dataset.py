"""Report what a dataset contains: figures, every problem, and a sheet of labelled images.

It does not end at the first problem, because a report is most useful when there are many.
"""

import dataclasses
import functools
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.runtime.progress import report

if TYPE_CHECKING:
    from buildsys.steps.lib.datasets.labels import Finding, Layout
    from buildsys.steps.lib.datasets.readers import Reading
    from buildsys.steps.lib.datasets.samples import Sample

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
)

_ROWS = 4
_CELL = 320
_CAPTION = 22
_SHORTEST = 8
"""Letters that a shortened caption keeps, however wide they are."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the data declares, and the (height, width) of inputs at which object sizes are judged."""

    title: str
    splits: tuple[Split, ...]
    classes: tuple[str, ...]
    keypoints: int
    keypoint_dims: int
    frames: tuple[tuple[int, int], ...]
    shape: str = "box"
    """How objects are labelled: see `tasks.shape_of`."""
    format: str = "ultralytics"
    """The format of the data: a key of `readers.FORMATS`."""
    labelled: tuple[str, ...] = ()
    """Splits that must have labels."""


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A readable image with its objects, a candidate for the sheet."""

    split: str
    sample: "Sample"


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write report.json, report.md and, if an image can be read, sheet.jpg."""
    import cv2

    from buildsys.steps.lib.datasets import survey_text

    cv2.setNumThreads(1)
    folder = outputs["report"]
    folder.mkdir(parents=True, exist_ok=True)
    found, pictures = _survey(inputs["dataset"], params)
    chosen = choose(pictures)
    if chosen:
        _draw_sheet(inputs["dataset"], chosen, params, folder / "sheet.jpg")
    found["sheet"] = [f"{item.sample.image} ({item.split})" for item in chosen]
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    (folder / "report.md").write_text(survey_text.render_page(found), encoding="utf-8")


def choose(pictures: list[Labelled]) -> list[Labelled]:
    """Choose 16 images by a seeded draw, those with objects first; sorted by split and name."""
    draw = random.Random(0)
    labelled = [item for item in pictures if item.sample.objects]
    empty = [item for item in pictures if not item.sample.objects]
    for group in (labelled, empty):
        draw.shuffle(group)
    kept = {id(item) for item in (labelled + empty)[: _ROWS * _ROWS]}
    return [item for item in pictures if id(item) in kept]


def _survey(root: Path, params: Params) -> tuple[dict[str, Any], list[Labelled]]:
    from buildsys.steps.lib.datasets import dataset_survey as survey
    from buildsys.steps.lib.datasets import readers
    from buildsys.steps.lib.datasets.rewritten_images import describe_rewritten
    from buildsys.steps.lib.datasets.samples import find_unlabelled, judge

    layout = _layout(params)
    rewritten: set[str] = set()
    reading = readers.read(root, params.format, params.splits, layout)
    findings = list(reading.findings)
    tallies, readable = [], []
    digests: dict[str, list[tuple[str, str]]] = {}
    total, done = len(reading.samples), 0
    placed: list[tuple[str, tuple[Sample, ...]]] = []
    for name, samples in reading.splits:
        kept: list[Sample] = []
        tally = survey.Tally(name=name, layout=layout, frames=params.frames)
        tallies.append(tally)
        for given in samples:
            photo, sample, wrong = judge(root, given, layout)
            kept.append(sample)
            findings += wrong
            if photo.digest:
                digests.setdefault(photo.digest, []).append((name, sample.image))
            size = None
            if photo.image is not None:
                size = (photo.image.shape[1], photo.image.shape[0])
                readable.append(Labelled(split=name, sample=sample))
                rewritten |= set() if photo.plain or photo.jpeg else {sample.image}
            tally.add_sample(sample, size, not given.objects and _is_empty(root, sample))
            done += 1
            report(done, total, "images")
        placed.append((name, tuple(kept)))
    pairs = sound_splits(params.splits, dataclasses.replace(reading, splits=tuple(placed)))
    findings += find_unlabelled(pairs, params.labelled) if params.classes else ()
    findings += survey.find_alike(params.classes)
    findings += survey.find_gaps(tallies)
    findings += survey.find_copies(digests)
    if rewritten and params.classes:
        findings.append(describe_rewritten(root, sorted(rewritten)))
    return {
        "title": params.title,
        "classes": list(params.classes),
        "keypoints": params.keypoints,
        "shape": params.shape,
        "inputs": [list(frame) for frame in params.frames],
        "splits": [tally.facts() for tally in tallies],
        "findings": [dataclasses.asdict(finding) for finding in _sort(findings)],
    }, readable


def sound_splits(
    splits: tuple[Split, ...], reading: "Reading"
) -> list[tuple[Split, tuple["Sample", ...]]]:
    """Return the splits without a mistake in their labels, with their samples.

    In the others, objects may be missing only because of the mistake.
    """
    wrong = {finding.path for finding in reading.findings if finding.severity == "error"}
    return [
        (split, samples)
        for split, (_, samples) in zip(splits, reading.splits, strict=True)
        if wrong.isdisjoint(sample.labels for sample in samples)
    ]


def _is_empty(root: Path, sample: "Sample") -> bool:
    """Return whether an image's label file is empty."""
    return bool(sample.labels) and _holds_nothing(root / sample.labels)


@functools.lru_cache(maxsize=1)  # COCO has one large file per split
def _holds_nothing(path: Path) -> bool:
    return not path.read_bytes().strip()


def _sort(findings: list["Finding"]) -> list["Finding"]:
    """Sort findings: errors first, then by kind; a file that two splits share appears once."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda f: (f.severity, f.kind, f.path, f.line, f.message))


def _layout(params: Params) -> "Layout":
    from buildsys.steps.lib.datasets.labels import Layout

    return Layout(
        classes=params.classes,
        keypoints=params.keypoints,
        dims=params.keypoint_dims,
        shape=params.shape,
    )


def _draw_sheet(root: Path, chosen: list[Labelled], params: Params, target: Path) -> None:
    import numpy as np

    from buildsys.steps.lib.images import overlays

    cells = [_draw_cell(root, item, params) for item in chosen]
    tall = [max(c.shape[0] for c in cells[i : i + _ROWS]) for i in range(0, len(cells), _ROWS)]
    sheet = np.full((sum(tall) + _CAPTION * len(tall), _ROWS * _CELL, 3), 40, np.uint8)
    for index, (item, cell) in enumerate(zip(chosen, cells, strict=True)):
        row, left = index // _ROWS, index % _ROWS * _CELL
        top = sum(tall[:row]) + row * _CAPTION
        y, x = top + _CAPTION, left + (_CELL - cell.shape[1]) // 2
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
        name = f"{index + 1}  {item.split}  {Path(item.sample.image).name}"
        while len(name) > _SHORTEST and overlays.text_width(name, 18) > _CELL - 8:
            name = name[:-2] + "…"
        overlays.write_text(sheet, name, (left + 4, top + 2), 18)
    overlays.save(target, sheet)


def _draw_cell(root: Path, item: Labelled, params: Params) -> Any:
    """Draw one labelled image scaled into its cell; names and lines keep their size."""
    import cv2

    from buildsys.steps.lib.datasets import label_marks
    from buildsys.steps.lib.images import decoding, overlays

    image = decoding.read(root / item.sample.image).image
    assert image is not None
    high, wide = image.shape[:2]
    scale = (_CELL - 6) / max(high, wide)
    size = (max(1, round(wide * scale)), max(1, round(high * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    marks = tuple(label_marks.mark(found, size, params.classes) for _, found in item.sample.objects)
    return overlays.draw(cv2.resize(image, size, interpolation=way), marks)
