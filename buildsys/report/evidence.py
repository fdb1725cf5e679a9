"""Turns the proofs of a package into values of the report: ladder, budgets, latency, accuracy,
facts.

What is missing or has an unexpected form is left out: the report never fails because of its
subject. Facts become lines of name and text, the most important first; names without a label here
come last, with spaces for underscores.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from buildsys.digest import canonical
from buildsys.spec import classes_without_objects
from buildsys.steps.lib.report.values import (
    LABELS,
    Budget,
    ImageComparison,
    Ladder,
    Latency,
    Measured,
    Output,
    Rung,
    View,
)

T = TypeVar("T")
ImageComparisons = tuple[tuple[ImageComparison, ...], tuple[tuple[str, str], ...]]
"""Images, and (form, sha256) of the files that ran on them."""
_ORDER = ("start", "checkpoint", "onnx", "tflite", "quantized-onnx", "engine")
_OF_LATENCY = ("mean_ms", "min_ms", "max_ms", "p50_ms", "p90_ms", "p99_ms")
Facts = tuple[tuple[str, str], ...]
_MOST = 60
_WORDS = {
    # of every verdict
    "passed": "Holds",
    # of the overlap
    "calibration_overlap": "Calibration images among the measured ones",
    "calibration_pictures": "Calibration images",
    "measured_pictures": "Measured images",
    "measured_split": "Measured split",
    "overlapping": "Among them",
    # of the rungs that compare detections
    "confidence": "Least confidence of an object",
    "from": "Objects before",
    "to": "Objects after",
    "in_both": "Objects in both",
    "boxes.mean_iou": "Boxes, mean IoU",
    "boxes.least_iou": "Boxes, least IoU",
    "scores.mean_difference": "Scores, mean difference",
    "scores.largest_difference": "Scores, largest difference",
    "keypoints.mean_distance_px": "Keypoints, mean distance, px",
    "keypoints.largest_distance_px": "Keypoints, largest distance, px",
    "keypoints.mean_share_of_box": "Keypoints, mean distance, sides of the box",
    # of the firmware's decoder
    "threshold": "Its threshold",
    "unverified": "Not verified",
    "boxes_px": "Boxes, largest difference, px",
    "scores": "Scores, largest difference",
    "keypoints_px": "Keypoints, largest difference, px",
    "candidates": "Cells above the threshold",
    "firmware": "Objects that it reports",
    "ours": "Objects that the outputs hold",
    # of the load test
    "arena_bytes": "Arena used, bytes",
    "planned_bytes": "Arena planned by Vela, bytes",
    "difference_bytes": "Difference, bytes",
    "has_bytes": "Arena of the firmware, bytes",
    "runner.file": "Firmware that loaded it",
    "runner.package": "Package of that firmware",
    "runner.sha256": "sha256 of that firmware",
}


def tolerant(make: Callable[[Any], T], data: Any, otherwise: T) -> T:
    """Return `make`'s result for the data; `otherwise` if the data has another form."""
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        return make(data)
    return otherwise


def read_ladder(data: Any) -> Ladder | None:
    """Return the verdict of compare_recordings; None without one."""
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
    """Return a rung; one without any limit is not judged: random weights carry no signal."""
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
    """Return an output; one without a limit is not judged, unless it is NaN, which fails."""
    value, limit, passed = item.get("value"), item.get("limit"), item.get("passed")
    if passed and limit is None:
        passed = None
    return Output(
        name=str(name),
        kind=str(item.get("kind", "")),
        figure=str(item.get("figure", "")),
        value=None if value is None else float(value),
        limit=None if limit is None else float(limit),
        passed=None if passed is None else bool(passed),
    )


def read_budgets(data: Any) -> tuple[Budget, ...]:
    """Return arena and flash from the evidence `fit`."""
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
    """Return the entries of latency.json.

    `known`: digests of the files that this build is made of.
    """
    rows = data.get("entries") if isinstance(data, dict) else None
    entries = [tolerant(lambda row: _latency(row, known), row, None) for row in rows or ()]
    found = [entry for entry in entries if entry is not None and entry.label in LABELS]
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
    """Return the accuracy per file in metrics.json, the source before what ships."""
    rows = sorted(data.items(), key=_rank) if isinstance(data, dict) else ()
    entries = [tolerant(lambda item: _measured(*item), item, None) for item in rows]
    return tuple(entry for entry in entries if entry is not None)


def _rank(item: tuple[str, Any]) -> tuple[int, str]:
    return (_ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER), item[0])


def _measured(name: str, row: dict[str, Any]) -> Measured:
    metrics = row["metrics"]
    known = {str(key): float(value) for key, value in metrics.items() if value is not None}
    return Measured(
        name=str(name),
        sha256=str(row["model"]["sha256"]),
        split=str(row.get("split") or ""),
        pictures=int(row.get("pictures") or 0),
        objects=int(row.get("objects") or 0),
        metrics=tuple(sorted(known.items())),
        without_objects=classes_without_objects(metrics),
        device=str(row.get("device") or ""),
        kernels=str(row.get("kernels") or ""),
        **_sigmas(row.get("keypoint_sigmas")),
    )


def _sigmas(data: Any) -> dict[str, Any]:
    """Return the constants by which keypoints were judged; empty for other tasks."""
    if not isinstance(data, dict):
        return {}
    return {"sigmas": tuple(map(float, data["values"])), "sigmas_source": str(data["source"])}


def read_image_comparisons(data: Any) -> ImageComparisons:
    """Return the content of draw_models' drawings.json: the images, and the files that ran on
    them.
    """
    nothing: ImageComparisons = ((), ())
    return tolerant(_image_comparisons, data, nothing)


def _image_comparisons(data: dict[str, Any]) -> ImageComparisons:
    images = tuple(
        ImageComparison(name=str(row["picture"]), views=tuple(map(_view, row["views"])))
        for row in data["pictures"]
    )
    return images, tuple((str(row["form"]), str(row["sha256"])) for row in data["models"])


def _view(row: dict[str, Any]) -> View:
    best = ((str(name), float(score)) for name, score in row["best"].items())
    return View(
        form=str(row["form"]),
        drawing=str(row["drawing"]),
        objects=int(row["objects"]),
        best=tuple(sorted(best, key=lambda item: (-item[1], item[0]))),
    )


def facts(data: Any) -> Facts:
    """Return a JSON object as lines of name and text, known names first, without empty values."""
    if not isinstance(data, dict):
        return ()
    order = {name: place for place, name in enumerate(_WORDS)}
    known = sorted(_walk(data), key=lambda item: order.get(item[0], len(order)))
    rows = [(_WORDS.get(name, _plain(name)), _text(name, item)) for name, item in known]
    return tuple(row for row in rows if row[1])[:_MOST]


def _walk(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in data.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, dict):
            yield from _walk(item, name)
        else:
            yield name, item


def _plain(name: str) -> str:
    words = name.replace("_", " ").replace(".", ", ")
    return words[:1].upper() + words[1:]


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and name.endswith("bytes"):
        return f"{value:,}"
    if isinstance(value, list):
        return _listed(value)
    return "" if value is None else str(value)


def _listed(items: list[Any]) -> str:
    """Return words as a list, tensors by type, shape and scale, and anything else as JSON."""
    if items and all(_is_tensor(item) for item in items):
        return "; ".join(map(_tensor, items))
    if all(isinstance(item, str) for item in items):
        return ("; " if any(" " in item for item in items) else ", ").join(items)
    return canonical(items)


def _is_tensor(item: Any) -> bool:
    return isinstance(item, dict) and "dtype" in item and isinstance(item.get("shape"), list)


def _tensor(item: dict[str, Any]) -> str:
    text = f"{item['dtype']} [{', '.join(map(str, item['shape']))}]"
    scale, zero = item.get("scale"), item.get("zero_point")
    return text if scale is None else f"{text} × {scale:.6g}, zero point {zero}"
