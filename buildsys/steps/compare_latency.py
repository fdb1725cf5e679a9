"""Compare the latency of the files of several builds on this machine, running them alternately.

All files are measured in one process, with one number of threads, in rounds, so that a machine that
slows down affects all of them equally. The first rounds warm up. No build depends on the result.
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
    # It runs while no other step runs, with every file in memory at once.
    resources=lambda params: Resources(memory_mib=1000, threads=params.threads, alone=True),
    local=True,
)
_DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One file: the builds that it belongs to, its format (tflite | onnx), and how it was quantized
    and converted according to their recipes; empty if it was not.
    """

    builds: tuple[str, ...]
    format: str
    scheme: str
    converter: str


@dataclass(frozen=True, kw_only=True)
class Params:
    """`subjects` in the order of the inputs file-000, file-001, …; `machine`: the machine that the
    figures hold for.
    """

    subjects: tuple[Subject, ...]
    threads: int
    runs: int
    warmup: int
    machine: str


def input_name(index: int) -> str:
    """Return the input name of the subject at `index`."""
    return f"file-{index:03}"


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure. `inputs`: file-000, …. `outputs`: comparison, a JSON object with one row per file.

    Times are in milliseconds, of a run with `batch` images; `ratio` compares the means per image.
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
            "batch": engine.batch,
            **_describe(path, subject.format),
            **summarize(own),
        }
        for subject, path, (_, engine), own in zip(
            params.subjects, paths, ready, times, strict=True
        )
    ]
    for row, ratio in zip(
        rows, ratios([(row["mean_ms"], row["batch"]) for row in rows]), strict=True
    ):
        row["ratio"] = ratio
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


def ratios(means: list[tuple[float, int]]) -> list[float]:
    """Return the mean per image divided by the least one, for each (milliseconds, batch)."""
    per_image = [mean / batch for mean, batch in means]
    return [round(mean / min(per_image), _DIGITS) for mean in per_image]


def take_turns(inferences: list[Callable[[], object]], runs: int, warmup: int) -> list[list[float]]:
    """Return the milliseconds of `runs` runs of each inference, alternating, after `warmup` rounds."""
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
    """Return digest, size and operator counts of a file; operators that only move data are counted
    apart.
    """
    counts = _operators(path, kind)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "bytes": path.stat().st_size,
        "operators": sum(counts.values()),
        "transposes": counts.get("TRANSPOSE", 0),
    }


def _operators(path: Path, kind: str) -> dict[str, int]:
    """Return the operators of the main graph, counted by name in capitals."""
    if kind == "tflite":
        from buildsys.steps.lib.files import tflite

        return dict(tflite.read(path).operators)
    from buildsys.steps.lib.files import model_files

    counts: dict[str, int] = {}
    for node in model_files.load_onnx(path).graph.node:
        name = node.op_type.upper()
        counts[name] = counts.get(name, 0) + 1
    return counts
