"""comparison.json beside the builds -> the report's tables, with the accuracy of the same files."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from buildsys.execution.packages.publish import build_folder
from buildsys.execution.places import Workspace
from buildsys.execution.session.comparing import FILE
from buildsys.report.evidence import tolerant
from buildsys.steps.lib.report.proof_values import LABELS
from buildsys.steps.lib.report.values import Artifact, Comparison, Timed, headline


def read_comparisons(workspace: Workspace, artifacts: Iterable[Artifact]) -> tuple[Comparison, ...]:
    """Each comparison once, however many builds it lies beside."""
    known = {item.id: item for item in artifacts}
    places = [build_folder(workspace, name) / FILE for name in sorted(known) if "@" in name]
    found = (tolerant(lambda place: _read(place, known), place, None) for place in places)
    return tuple(dict.fromkeys(item for item in found if item is not None))


def _read(place: Path, known: dict[str, Artifact]) -> Comparison | None:
    try:
        data = json.loads(place.read_bytes())
    except OSError:
        return None
    counts = {name: int(data[name]) for name in ("threads", "runs", "warmup")}
    rows = sorted((_timed(row, known) for row in data["rows"]), key=lambda row: row.mean_ms)
    found = Comparison(
        label=str(data["label"]), device=str(data["device"]), rows=tuple(rows), **counts
    )
    return found if found.label in LABELS else None


def _timed(row: dict[str, Any], known: dict[str, Artifact]) -> Timed:
    builds = tuple(map(str, row["builds"]))
    owners = [known[name] for name in builds if name in known]
    measured = [
        entry for item in owners for entry in item.measured if entry.sha256 == row["sha256"]
    ]
    metrics = dict(measured[0].metrics) if measured else {}
    words: dict[str, Any] = {
        name: str(row[name]) for name in ("format", "scheme", "converter", "engine", "sha256")
    }
    counts: dict[str, Any] = {name: int(row[name]) for name in ("bytes", "operators", "transposes")}
    figures: dict[str, Any] = {
        name: float(row[name]) for name in ("mean_ms", "min_ms", "p50_ms", "ratio")
    }
    shipped = [item for item in owners if item.file.endswith(f".{row['format']}")]
    return Timed(
        builds=builds,
        metrics=tuple((n, metrics[n]) for n in headline(tuple(metrics.items()))),
        earlier=bool(shipped) and all(item.sha256 != row["sha256"] for item in shipped),
        **words,
        **counts,
        **figures,
    )
