"""Measure the latency of the network in this folder on this machine.

    python benchmark.py --threads 4 --json board.json
    python benchmark.py photo.jpg

It times the inference alone, from a prepared input to the outputs; with an image also the time from
the image file to detections. `buildsys import-benchmark BUILD board.json --device
NAME` reads the JSON. Exit codes: see detect.py.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import network
from figures import PERCENTS, machine, summarize, write
from pictures import count, guarded, read_picture

if TYPE_CHECKING:
    import numpy as np

TOOL = "buildsys benchmark.py"
"""The value by which `buildsys import-benchmark` recognizes the JSON."""


def measure(run: Callable[[], object], runs: int, warmup: int) -> dict[str, float]:
    """Return figures in milliseconds over `runs` runs after `warmup` runs, by the monotonic clock."""
    times = []
    for index in range(warmup + runs):
        started = time.perf_counter_ns()
        run()
        passed = time.perf_counter_ns() - started
        if index >= warmup:
            times.append(passed / 1e6)
    return summarize(times)


def noise(detail: dict[str, Any]) -> np.ndarray:
    """Return seeded noise over an input's range: 0..1 for floats, the full range for integers."""
    import numpy as np

    rng, dtype = np.random.default_rng(0), np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return rng.random(detail["shape"]).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, detail["shape"], dtype=dtype, endpoint=True)


def benchmark(options: argparse.Namespace) -> int:
    """Measure, print and write the figures."""
    model = network.Model(options.threads)
    model.interpreter.set_tensor(model.input["index"], noise(model.input))
    result: dict[str, Any] = {
        "tool": TOOL,
        "model": model.path.name,
        "sha256": model.sha256,
        "format": "tflite",
        "engine": "litert",
        "version": version("ai-edge-litert"),
        "machine": machine(),
        "python": platform.python_version(),
        "threads": options.threads,
        "warmup": options.warmup,
        "runs": options.runs,
        "what": "engine only",
        **measure(model.interpreter.invoke, options.runs, options.warmup),
    }
    if options.picture:
        model.demand_task()
        facts = model.facts

        def whole() -> object:
            photo = read_picture(options.picture)
            return model.see(photo, facts["confidence"], facts["iou"])

        result["end_to_end"] = measure(whole, options.runs, options.warmup)
    if options.json:
        write(options.json, result)
    tell(result)
    return 0


def tell(result: dict[str, Any]) -> None:
    """Print the figures."""
    threads = f"{result['threads']} thread{'s' if result['threads'] > 1 else ''}"
    print(f"{result['model']}, LiteRT {result['version']}, {threads}, {result['machine']}")
    print(f"{result['runs']} runs after {result['warmup']} warm-up runs, milliseconds:")
    named = (("engine only", result), ("image file to detections", result.get("end_to_end")))
    for name, figures in named:
        if figures is not None:
            order = ("mean_ms", "min_ms", *(f"p{percent}_ms" for percent in PERCENTS), "max_ms")
            listed = ", ".join(f"{key[:-3]} {figures[key]:.2f}" for key in order)
            print(f"{name}: {listed}")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure the latency of the network in this folder."
    )
    add = parser.add_argument
    add(
        "picture",
        nargs="?",
        metavar="IMAGE",
        help="also measure the time from this image file to detections",
    )
    add("--runs", type=count, default=50, help="number of timed runs (50)")
    add("--warmup", type=count, default=5, help="number of warm-up runs (5)")
    add("--threads", type=count, default=1, help="number of LiteRT's threads (1)")
    add("--json", metavar="FILE", help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guarded(benchmark, parse()))
