"""How long the engine of this folder takes on this machine.

    python benchmark.py --batch 1 --json figures.json

Two ways, over the same number of runs behind a warm-up: the engine alone, by CUDA events, from an
input on the GPU to outputs on the GPU; and end to end, by the host's clock, from an array in memory
to arrays in memory. Both are of the whole batch. `buildsys import-benchmark BUILD figures.json
--device NAME` reads the JSON. Exit codes are run.py's. Nobody has run it on a GPU yet.
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
"""By which `buildsys import-benchmark` knows the JSON."""


def benchmark(options: argparse.Namespace) -> int:
    """Measure, print, write."""
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
    """Milliseconds of single runs on seeded noise, in both ways. Raises Failure."""
    import numpy as np

    shape = (batch, *engine.shape[1:])
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    try:
        times: dict[str, list[float]] = engine.time(values, warmup, runs)
    except Refused as error:
        raise Failure(str(error), error.code) from error
    return times


def tell(result: dict[str, Any]) -> None:
    """For people."""
    library = LIBRARIES[result["engine"]][0]
    print(
        f"{result['model']}, {library} {result['version']}, batch {result['batch']}, {result['gpu']}"
    )
    print(f"{result['runs']} runs after {result['warmup']} to warm up, milliseconds:")
    for name, figures in (("engine only", result), ("end to end", result["end_to_end"])):
        order = ("mean_ms", "min_ms", *(f"p{percent}_ms" for percent in PERCENTS), "max_ms")
        print(f"{name}: " + ", ".join(f"{key[:-3]} {figures[key]:.3f}" for key in order))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="How long the engine of this folder takes here.")
    add = parser.add_argument
    add("--batch", type=count, metavar="N", help="pictures at once (what the engine is best at)")
    add("--runs", type=count, default=200, help="that are timed (200)")
    add("--warmup", type=count, default=20, help="runs before them (20)")
    add("--json", metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(guarded(benchmark, parse()))
