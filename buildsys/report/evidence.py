"""The proofs of a package, as a report's values: the ladder, budgets, latency, plain facts.

What is not there is left out; what is there and of another shape is left out as well: a report
never fails for what it reports on.
"""

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from buildsys.report.evidence_lines import facts as facts  # noqa: PLC0414 - part of what is read here
from buildsys.steps.lib.report.proof_values import (
    LABELS,
    Budget,
    Ladder,
    Latency,
    Measured,
    Output,
    Rung,
    Sight,
    View,
)

T = TypeVar("T")
Sights = tuple[tuple[Sight, ...], tuple[tuple[str, str], ...]]
"""Pictures, and (form, sha256) of the files that saw them."""
_ORDER = ("start", "checkpoint", "onnx", "tflite", "quantized-onnx", "engine")
_OF_LATENCY = ("mean_ms", "min_ms", "max_ms", "p50_ms", "p90_ms", "p99_ms")


def tolerant(make: Callable[[Any], T], data: Any, otherwise: T) -> T:
    """What `make` makes of the data; `otherwise` where it is of another shape."""
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        return make(data)
    return otherwise


def read_ladder(data: Any) -> Ladder | None:
    """The verdict of compare_recordings; None where there is none."""
    return tolerant(_ladder, data, None) if data else None


def _ladder(data: dict[str, Any]) -> Ladder:
    rungs = tuple(_rung(row) for row in data["rungs"])
    judged = any(rung.passed is not None for rung in rungs)
    return Ladder(
        passed=bool(data["passed"]) if judged else None,
        pictures=int(data.get("pictures") or 0),
        rungs=rungs,
        first_failing=str(data.get("first_failing") or ""),
        failures=tuple(map(str, data.get("failures") or ())),
    )


def _rung(row: dict[str, Any]) -> Rung:
    """Green without a limit anywhere is not judged: random weights carry no signal."""
    passed = row.get("passed")
    outputs = tuple(_output(name, item) for name, item in (row.get("outputs") or {}).items())
    unjudged = bool(passed and outputs and all(item.limit is None for item in outputs))
    return Rung(
        start=str(row["from"]),
        end=str(row["to"]),
        passed=None if passed is None or unjudged else bool(passed),
        outputs=outputs,
        detections=facts(row.get("detections")),
        note=str(row.get("note") or ""),
    )


def _output(name: str, item: dict[str, Any]) -> Output:
    """Whether it holds is taken from the proof; else more signal is better, less of all the rest."""
    figure, value, limit = str(item.get("figure", "")), item.get("value"), item.get("limit")
    passed = item.get("passed")
    if passed is None and value is not None and limit is not None:
        passed = value >= limit if "signal" in figure else value <= limit
    return Output(
        name=str(name),
        kind=str(item.get("kind", "")),
        figure=figure,
        value=None if value is None else float(value),
        limit=None if limit is None else float(limit),
        passed=None if passed is None else bool(passed),
    )


def read_budgets(data: Any) -> tuple[Budget, ...]:
    """Arena and flash of the evidence `fit`."""
    found = []
    for name in ("arena", "flash"):
        row = data.get(name) if isinstance(data, dict) else None
        budget = tolerant(lambda item, name=name: _budget(name, item), row, None)  # type: ignore[misc]
        found += [budget] if budget else []
    return tuple(found)


def _budget(name: str, row: dict[str, Any]) -> Budget:
    has = row.get("has_bytes")
    return Budget(
        name=name,
        need_bytes=int(row["need_bytes"]),
        has_bytes=None if has is None else int(has),
        by=str(row.get("by") or ""),
    )


def read_latency(data: Any, known: frozenset[str]) -> tuple[Latency, ...]:
    """The entries of latency.json; `known`: digests of the files that this build is made of."""
    rows = data.get("entries") if isinstance(data, dict) else None
    made = [tolerant(lambda row: _latency(row, known), row, None) for row in rows or ()]
    found = [entry for entry in made if entry is not None and entry.label in LABELS]
    return tuple(
        sorted(
            found,
            key=lambda e: (LABELS.index(e.label), e.earlier, e.device, e.engine, e.batch, e.what),
        )
    )


def _latency(row: dict[str, Any], known: frozenset[str]) -> Latency:
    numbers: dict[str, Any] = {
        name: float(row[name]) for name in _OF_LATENCY if row.get(name) is not None
    }
    counts: dict[str, Any] = {
        name: int(row.get(name) or 0) for name in ("threads", "runs", "warmup", "batch")
    }
    words: dict[str, Any] = {
        name: str(row.get(name) or "") for name in ("device", "format", "what", "version", "note")
    }
    return Latency(
        label=str(row["label"]),
        engine=str(row["engine"]),
        sha256=str(row["sha256"]),
        earlier=str(row["sha256"]) not in known,
        **numbers,
        **counts,
        **words,
    )


def read_measured(data: Any) -> tuple[Measured, ...]:
    """metrics.json: accuracy per file, the source before what ships."""
    rows = sorted(data.items(), key=_rank) if isinstance(data, dict) else ()
    made = [tolerant(lambda item: _measured(*item), item, None) for item in rows]
    return tuple(entry for entry in made if entry is not None)


def _rank(item: tuple[str, Any]) -> tuple[int, str]:
    return (_ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER), item[0])


def _measured(name: str, row: dict[str, Any]) -> Measured:
    return Measured(
        name=str(name),
        sha256=str(row["model"]["sha256"]),
        split=str(row.get("split") or ""),
        pictures=int(row.get("pictures") or 0),
        objects=int(row.get("objects") or 0),
        metrics=tuple(sorted((str(key), float(value)) for key, value in row["metrics"].items())),
        device=str(row.get("device") or ""),
    )


def read_sights(data: Any) -> Sights:
    """drawings.json of draw_models: the pictures, and which files saw them."""
    nothing: Sights = ((), ())
    return tolerant(_sights, data, nothing)


def _sights(data: dict[str, Any]) -> Sights:
    sights = tuple(
        Sight(name=str(row["picture"]), views=tuple(map(_view, row["views"])))
        for row in data["pictures"]
    )
    return sights, tuple((str(row["form"]), str(row["sha256"])) for row in data["models"])


def _view(row: dict[str, Any]) -> View:
    best = ((str(name), float(score)) for name, score in row["best"].items())
    return View(
        form=str(row["form"]),
        drawing=str(row["drawing"]),
        objects=int(row["objects"]),
        best=tuple(sorted(best, key=lambda item: (-item[1], item[0]))),
    )
