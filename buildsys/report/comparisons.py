"""Reads build/.comparisons, written by `buildsys compare`, for the report's tables.

There is one file per set of builds. The accuracy is that of the same file, by its digest.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildsys.digest import digest_value
from buildsys.execution.places import Workspace
from buildsys.files import read_regular
from buildsys.report.evidence import tolerant
from buildsys.steps.lib.report.values import LABELS, Artifact, Comparison, Timed, headline

_COUNTS = ("bytes", "operators", "transposes", "batch")


def comparison_file(workspace: Workspace, builds: Iterable[str]) -> Path:
    """Return the file for the comparison of a set of builds."""
    return _folder(workspace) / f"{digest_value(sorted(builds))[:16]}.json"


def read_comparisons(workspace: Workspace, artifacts: Iterable[Artifact]) -> tuple[Comparison, ...]:
    """Return every comparison with a file that ships now; other files are marked."""
    known = tuple(artifacts)
    found = (read_comparison(place, known) for place in sorted(_folder(workspace).glob("*.json")))
    return tuple(
        item for item in found if item is not None and not all(row.earlier for row in item.rows)
    )


def read_comparison(place: Path, artifacts: Iterable[Artifact]) -> Comparison | None:
    """Return one comparison, the fastest file first; None if it is missing or damaged."""
    known = {item.id: item for item in artifacts}
    return tolerant(lambda path: _read(path, known), place, None)


def _folder(workspace: Workspace) -> Path:
    return workspace.build / ".comparisons"


def _read(place: Path, known: Mapping[str, Artifact]) -> Comparison | None:
    try:
        data = json.loads(read_regular(place))
    except OSError:
        return None
    counts = {name: int(data[name]) for name in ("threads", "runs", "warmup")}
    rows = sorted((_timed(row, known) for row in data["rows"]), key=lambda row: row.ratio)
    found = Comparison(
        label=str(data["label"]),
        device=str(data["device"]),
        rows=tuple(_mark_earlier(rows, known)),
        **counts,
    )
    return found if found.label in LABELS else None


def _timed(row: dict[str, Any], known: Mapping[str, Artifact]) -> Timed:
    builds = tuple(map(str, row["builds"]))
    owners = [known[name] for name in builds if name in known]
    measured = [
        entry for item in owners for entry in item.measured if entry.sha256 == row["sha256"]
    ]
    metrics = dict(measured[0].metrics) if measured else {}
    words: dict[str, Any] = {
        name: str(row[name]) for name in ("format", "scheme", "converter", "engine", "sha256")
    }
    counts: dict[str, Any] = {name: int(row[name]) for name in _COUNTS}
    figures: dict[str, Any] = {
        name: float(row[name]) for name in ("mean_ms", "min_ms", "p50_ms", "ratio")
    }
    return Timed(
        builds=builds,
        metrics=tuple((n, metrics[n]) for n in headline(tuple(metrics.items()))),
        images=measured[0].pictures if measured else 0,
        **words,
        **counts,
        **figures,
    )


def _mark_earlier(rows: list[Timed], known: Mapping[str, Artifact]) -> list[Timed]:
    """Mark rows of earlier files: every build that had the file is gone or ships another one now.

    The ONNX file that a build was made from belongs to the file that the build ships.
    """
    replaced = {
        name
        for row in rows
        for name in row.builds
        if name not in known or _ships_another(known[name], rows)
    }
    return [replace(row, earlier=replaced.issuperset(row.builds)) for row in rows]


def _ships_another(item: Artifact, rows: Iterable[Timed]) -> bool:
    """Return whether no timed file of the shipped file's format is that file; of a quantized ONNX
    file, two files of its format are timed.
    """
    own = [row for row in rows if item.id in row.builds and item.file.endswith(f".{row.format}")]
    return bool(own) and item.sha256 not in ("", *(row.sha256 for row in own))
