"""Measure the latency of this folder's engine on this machine.

    python benchmark.py --batch 1 --json figures.json

It measures two times over the same number of runs after a warm-up: the engine alone, with CUDA events,
from an input on the GPU to outputs on the GPU; and end to end, with the host's clock, from an array in
memory to arrays in memory. Both are per batch. `buildsys import-benchmark BUILD figures.json
--device NAME` reads the JSON. Exit codes: see run.py. It has not been run on a GPU
yet.
"""

from __future__ import annotations

import argparse
import platform
import sys
from typing import Any

from figures import PERCENTS, machine, summarize, write
from looking import read_facts
from pictures import Failure, count, guarded
from run import open_here
from runtime import LIBRARIES, Engine, Refused

TOOL = "buildsys benchmark.py"
"""The value by which `buildsys import-benchmark` recognizes the JSON."""


def benchmark(options: argparse.Namespace) -> int:
    """Measure, print and write the figures."""
    facts = read_facts()
    engine = open_here(facts)
    batch = options.batch or engine.batch[1]
    times = measure(engine, batch, options.warmup, options.runs)
    result = {
        "tool": TOOL,
        "model": facts["file"],
        "sha256": facts["sha256"],
        "format": "engine",
        "engine": facts["library"],
        "version": engine.version,
        "machine": machine(),
        "gpu": engine.gpu,
        "compute_capability": engine.capability,
        "python": platform.python_version(),
        "batch": batch,
        "warmup": options.warmup,
        "runs": options.runs,
        "what": "engine only",
        **summarize(times["engine"]),
        "end_to_end": summarize(times["end_to_end"]),
    }
    if options.json:
        write(options.json, result)
    tell(result)
    return 0


def measure(engine: Engine, batch: int, warmup: int, runs: int) -> dict[str, list[float]]:
    """Return the milliseconds of single runs on seeded noise, for both times. Raises Failure."""
    import numpy as np

    shape = (batch, *engine.shape[1:])
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    try:
        times: dict[str, list[float]] = engine.time(values, warmup, runs)
    except Refused as error:
        raise Failure(str(error), error.code) from error
    return times


def tell(result: dict[str, Any]) -> None:
    """Print the figures."""
    library = LIBRARIES[result["engine"]][0]
    print(
        f"{result['model']}, {library} {result['version']}, batch {result['batch']}, {result['gpu']}"
    )
    print(f"{result['runs']} runs after {result['warmup']} warm-up runs, milliseconds:")
    for name, figures in (("engine only", result), ("end to end", result["end_to_end"])):
        order = ("mean_ms", "min_ms", *(f"p{percent}_ms" for percent in PERCENTS), "max_ms")
        print(f"{name}: " + ", ".join(f"{key[:-3]} {figures[key]:.3f}" for key in order))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the latency of this folder's engine.")
    add = parser.add_argument
    add(
        "--batch",
        type=count,
        metavar="N",
        help="images per inference (default: the engine's optimum)",
    )
    add("--runs", type=count, default=200, help="number of timed runs (200)")
    add("--warmup", type=count, default=20, help="number of warm-up runs (20)")
    add("--json", metavar="FILE", help="write the figures to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guarded(benchmark, parse()))
