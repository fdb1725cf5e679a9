"""Times of a network's runs -> one labelled figure; and how the steps here take them.

What is timed is the engine alone: from an input that lies ready to outputs that lie ready. No
decoding of a picture, no letterbox, no reading of boxes.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Resources
from buildsys.steps.lib.metrics.timed_runs import Engine
from buildsys.steps.lib.runtime.progress import report

ENGINE_ONLY, END_TO_END = "engine only", "end to end"
"""What was timed; end to end: with the copies to and from a GPU."""
HERE, ON_A_DEVICE = "measured here", "measured on a device"
"""Labels; beside them stands "estimated", which is the compiler's word."""
_DIGITS = 4
"""Of milliseconds: a tenth of a microsecond is less than any clock here tells."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """How often and on how many threads. `machine`: what the figure is true of (part of the key)."""

    threads: int
    runs: int
    warmup: int
    machine: str


def resources(params: Params) -> Resources:
    """It runs alone: beside a training every figure is noise."""
    return Resources(memory_mib=1000, threads=params.threads, alone=True)


def measure(
    model: Path, run: Callable[[], object], engine: Engine, params: Params, target: Path
) -> None:
    """Warm up, time every run with the monotonic clock, write the entry as JSON."""
    times = []
    for index in range(params.warmup + params.runs):
        started = time.perf_counter_ns()
        run()
        passed = time.perf_counter_ns() - started
        if index >= params.warmup:
            times.append(passed / 1e6)
        report(index + 1, params.warmup + params.runs, "runs")
    entry = {
        "label": HERE,
        "engine": engine.name,
        "version": engine.version,
        "kernels": engine.kernels,
        "device": params.machine,
        "threads": params.threads,
        "warmup": params.warmup,
        **summarize(times),
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "format": engine.format,
        "what": ENGINE_ONLY,
    }
    target.write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Milliseconds of single runs -> runs, mean, min, max and percentiles, in milliseconds."""
    ordered = sorted(times)
    figures = {
        "mean_ms": math.fsum(ordered) / len(ordered),
        "min_ms": ordered[0],
        "max_ms": ordered[-1],
        "p50_ms": percentile(ordered, 50),
        "p90_ms": percentile(ordered, 90),
        "p99_ms": percentile(ordered, 99),
    }
    return {"runs": len(ordered)} | {k: round(v, _DIGITS) for k, v in figures.items()}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Between the two nearest of ascending values, in proportion (numpy's default, `linear`)."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
