"""How long the files of several builds take on this machine, one run of each in turn.

A machine that slows down slows them all down alike: what is compared is measured in one process, on
one count of threads, in rounds. The first rounds warm up. Beside the builds, an input of none.
"""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps.lib.metrics.latency import ENGINE_ONLY, HERE, summarize
from buildsys.steps.lib.runtime.progress import report

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE, Format.ONNX),
    produces=Format.LATENCY,
    # It runs alone, with every file in memory at once.
    resources=lambda params: Resources(memory_mib=1000, threads=params.threads, alone=True),
    local=True,
)
_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One file: the builds that it belongs to, its format (tflite | onnx), how it was quantized and
    converted, as their recipes say it; empty where nobody did.
    """

    builds: tuple[str, ...]
    format: str
    scheme: str
    converter: str


@dataclass(frozen=True, kw_only=True)
class Params:
    """`subjects` in the order of the inputs file-000, file-001, …; `machine`: what the figures are
    true of.
    """

    subjects: tuple[Subject, ...]
    threads: int
    runs: int
    warmup: int
    machine: str


def input_name(index: int) -> str:
    """Of the subject at `index`."""
    return f"file-{index:03}"


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: file-000, …. `outputs`: comparison, a JSON object with a row a file.

    Times in milliseconds; `ratio`: of the mean to the fastest's.
    """
    from buildsys.steps.lib.metrics import timed_runs

    openers = {"tflite": timed_runs.open_tflite, "onnx": timed_runs.open_onnx}
    paths = [inputs[input_name(index)] for index in range(len(params.subjects))]
    ready = [
        openers[subject.format](path, params.threads)
        for subject, path in zip(params.subjects, paths, strict=True)
    ]
    times = take_turns([infer for infer, _ in ready], params.runs, params.warmup)
    rows: list[dict[str, Any]] = [
        {
            **asdict(subject),
            "engine": engine.name,
            "version": engine.version,
            "kernels": engine.kernels,
            **_describe(path, subject.format),
            **summarize(own),
        }
        for subject, path, (_, engine), own in zip(
            params.subjects, paths, ready, times, strict=True
        )
    ]
    fastest = min(row["mean_ms"] for row in rows)
    for row in rows:
        row["ratio"] = round(row["mean_ms"] / fastest, _DIGITS)
    found = {
        "label": HERE,
        "device": params.machine,
        "threads": params.threads,
        "runs": params.runs,
        "warmup": params.warmup,
        "what": ENGINE_ONLY,
        "order": "one run of each in turn",
        "rows": rows,
    }
    text = json.dumps(found, indent=1, sort_keys=True)
    outputs["comparison"].write_text(text + "\n", encoding="utf-8")


def take_turns(inferences: list[Callable[[], object]], runs: int, warmup: int) -> list[list[float]]:
    """Milliseconds of `runs` runs of each, one of each in turn; `warmup` rounds before them."""
    times: list[list[float]] = [[] for _ in inferences]
    for index in range(warmup + runs):
        for infer, own in zip(inferences, times, strict=True):
            started = time.perf_counter_ns()
            infer()
            passed = time.perf_counter_ns() - started
            if index >= warmup:
                own.append(passed / 1e6)
        report(index + 1, warmup + runs, "rounds")
    return times


def _describe(path: Path, kind: str) -> dict[str, Any]:
    """Digest, size, and how many operators the file has, those that only move data apart."""
    counts = _operators(path, kind)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "operators": sum(counts.values()),
        "transposes": counts.get("TRANSPOSE", 0),
    }


def _operators(path: Path, kind: str) -> dict[str, int]:
    """Operators by name in capitals; of the main graph."""
    if kind == "tflite":
        from buildsys.steps.lib.files import tflite

        return dict(tflite.read(path).operators)
    from buildsys.steps.lib.files import model_files

    counts: dict[str, int] = {}
    for node in model_files.load_onnx(path).graph.node:
        name = node.op_type.upper()
        counts[name] = counts.get(name, 0) + 1
    return counts
