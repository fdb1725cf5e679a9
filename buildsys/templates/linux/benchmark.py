"""How long the packed network takes on this machine.

    python benchmark.py --threads 4 --json board.json
    python benchmark.py photo.jpg

The engine alone is timed, from an input that lies ready to outputs that lie ready; with a picture,
the whole way from its file to detections, too. `buildsys import-benchmark BUILD board.json --device
NAME` reads the JSON. Exit codes are detect.py's.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import detect
import network

if TYPE_CHECKING:
    import numpy as np

TOOL = "buildsys benchmark.py"
"""By which `buildsys import-benchmark` knows the JSON."""
PERCENTS = (50, 90, 95, 99)


def measure(run: Callable[[], object], runs: int, warmup: int) -> dict[str, float]:
    """Milliseconds over `runs` runs behind `warmup` others, by the monotonic clock."""
    times = []
    for index in range(warmup + runs):
        started = time.perf_counter_ns()
        run()
        passed = time.perf_counter_ns() - started
        if index >= warmup:
            times.append(passed / 1e6)
    return summarize(times)


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Mean, least, most and percentiles of single runs."""
    ordered = sorted(times)
    figures = {"mean_ms": math.fsum(ordered) / len(ordered), "min_ms": ordered[0]}
    figures |= {f"p{percent}_ms": percentile(ordered, percent) for percent in PERCENTS}
    figures["max_ms"] = ordered[-1]
    return {name: round(value, 4) for name, value in figures.items()}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Between the two nearest of ascending values, in proportion."""
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def noise(detail: dict[str, Any]) -> np.ndarray:
    """Seeded, over all that an input can hold: 0..1 of real numbers, all of an integer's range."""
    import numpy as np

    rng, dtype = np.random.default_rng(0), np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return rng.random(detail["shape"]).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, detail["shape"], dtype=dtype, endpoint=True)


def machine() -> str:
    """The board's own name where it tells it, its architecture, its system."""
    try:
        board = Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, UnicodeDecodeError):
        board = ""
    parts = (board, platform.machine(), f"{platform.system()} {platform.release()}")
    return ", ".join(part for part in parts if part)


def benchmark(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    model = network.Model(options.threads)
    model.interpreter.set_tensor(model.input["index"], noise(model.input))
    result: dict[str, Any] = {
        "tool": TOOL, "model": model.path.name, "sha256": model.sha256, "format": "tflite",
        "engine": "litert", "version": version("ai-edge-litert"), "machine": machine(),
        "python": platform.python_version(), "threads": options.threads,
        "warmup": options.warmup, "runs": options.runs, "what": "engine only",
        **measure(model.interpreter.invoke, options.runs, options.warmup),
    }  # fmt: skip
    if options.picture:
        model.demand_task()
        facts = model.facts

        def whole() -> object:
            photo = detect.read_picture(options.picture)
            return model.see(photo, facts["confidence"], facts["iou"])

        result["end_to_end"] = measure(whole, options.runs, options.warmup)
    if options.json:
        write(options.json, result)
    tell(result)
    return 0


def write(target: str, result: dict[str, Any]) -> None:
    """The JSON. Raises network.Failure."""
    try:
        Path(target).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise network.Failure(f"{target}: cannot be written: {error.strerror}", 2) from error


def tell(result: dict[str, Any]) -> None:
    """For people."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    print(f"{result['model']}, LiteRT {result['version']}, {threads}, {result['machine']}")
    print(f"{result['runs']} runs after {result['warmup']} to warm up, milliseconds:")
    named = (("engine only", result), ("picture file to detections", result.get("end_to_end")))
    for name, figures in named:
        if figures is not None:
            order = ("mean_ms", "min_ms", *(f"p{percent}_ms" for percent in PERCENTS), "max_ms")
            listed = ", ".join(f"{key[:-3]} {figures[key]:.2f}" for key in order)
            print(f"{name}: {listed}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long the packed network takes here.")
    add = parser.add_argument
    add(
        "picture",
        nargs="?",
        metavar="PICTURE",
        help="time the way from this file to detections, too",
    )
    add("--runs", type=detect.count, default=50, help="that are timed (50)")
    add("--warmup", type=detect.count, default=5, help="runs before them (5)")
    add("--threads", type=detect.count, default=1, help="that LiteRT computes with (1)")
    add("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(detect.guarded(benchmark, parse()))
