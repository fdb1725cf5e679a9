"""Figures of a benchmark: statistics of single runs, the machine, and the JSON file.

Uses only the standard library. Python 3.8 and later.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pictures import Failure

PERCENTS = (50, 90, 95, 99)


def summarize(times: Sequence[float]) -> dict[str, float]:
    """Return mean, minimum, maximum and percentiles of single runs."""
    ordered = sorted(times)
    figures = {"mean_ms": math.fsum(ordered) / len(ordered), "min_ms": ordered[0]}
    figures.update({f"p{percent}_ms": percentile(ordered, percent) for percent in PERCENTS})
    figures["max_ms"] = ordered[-1]
    return {name: round(value, 4) for name, value in figures.items()}


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of ascending values by linear interpolation."""
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def machine() -> str:
    """Return the board's name if the system provides it, the architecture, and the system."""
    try:
        board = Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, UnicodeDecodeError):
        board = ""
    parts = (board, platform.machine(), f"{platform.system()} {platform.release()}")
    return ", ".join(part for part in parts if part)


def write(target: str, result: dict[str, Any]) -> None:
    """Write the JSON. Raises Failure."""
    try:
        Path(target).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise Failure(f"{target}: cannot be written: {error.strerror}", 2) from error
