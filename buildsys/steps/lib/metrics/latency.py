"""Measure the latency of a network's runs, and summarize it as one labelled figure.

Only the inference is timed: from a prepared input to the raw outputs, without decoding an image,
letterbox, or reading boxes.
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
"""What was timed; end to end includes the copies to and from a GPU."""
HERE, ON_A_DEVICE = "measured here", "measured on a device"
"""Labels; a third one is "estimated", for figures of a compiler."""
_DIGITS = 4
"""Digits after the point of milliseconds: 0.1 microseconds is finer than any clock used here."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Number of runs and threads. `machine`: the machine that the figure holds for (part of the
    key).
    """

    threads: int
    runs: int
    warmup: int
    machine: str


def resources(params: Params) -> Resources:
    """Return the resources: the step runs while no other step runs, which would falsify the
    figures.
    """
    return Resources(memory_mib=1000, threads=params.threads, alone=True)


def measure(
    model: Path, run: Callable[[], object], engine: Engine, params: Params, target: Path
) -> None:
    """Warm up, time every run with the monotonic clock, and write the entry as JSON; its times are
    of a whole batch.
    """
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
        "batch": engine.batch,
        "warmup": params.warmup,
        **summarize(times),
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "format": engine.format,
        "what": ENGINE_ONLY,
    }
    target.write_text(json.dumps(entry, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Return number, mean, min, max and percentiles of single runs, in milliseconds."""
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
    """Return a percentile of ascending values by linear interpolation (NumPy's default, `linear`)."""
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
