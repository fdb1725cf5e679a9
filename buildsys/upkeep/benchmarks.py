"""What a benchmark on a device wrote -> a measurement of a published file.

`litert-benchmark --result_json FILE` (ai-edge-litert 2.3.0, run here): one object with the model's
path, its accelerators, threads, and rounded times. `trtexec --exportTimes=FILE` (no TensorRT runs
here: the shape is that of NVIDIA's samples/common/sampleReporting.cpp, exportJSONTrace): a list of
one object an iteration, of which `computeMs` is the time of the engine alone. `benchmark.py --json
FILE` of a package for Linux (templates/linux) or of one with an engine (templates/engine): one object
with the file's digest.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.engine.measurements import Measurement
from buildsys.errors import Diagnostic, InputError
from buildsys.steps._latency import ENGINE_ONLY, ON_A_DEVICE, summarize
from buildsys.upkeep.published import Published

_MOST_BYTES = 64 << 20
_MIB = 1 << 20
_LONGEST_MACHINE = 120
ENGINE_LIBRARIES = ("tensorrt", "tensorrt-rtx")
_PACKAGED = "buildsys benchmark.py"
"""As the benchmark.py of templates/linux and templates/engine call themselves."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a FILE holds; `machine`: where it ran by its own word, empty where the tool says nothing."""

    measurement: Measurement
    machine: str


def read_benchmark(path: str, device: str, published: Published) -> Benchmark:
    """One FILE, of a tool that is told by its shape. Raises InputError."""
    data = _load(path)
    said = [data.get(key) for key in ("gpu", "machine")] if isinstance(data, dict) else []
    return Benchmark(
        measurement=_measurement(path, data, device, published),
        machine=_words(", ".join(words for words in said if isinstance(words, str))),
    )


def _words(text: str) -> str:
    """Of a file from elsewhere: what can be printed of it, on a line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_MACHINE]


def _measurement(path: str, data: Any, device: str, published: Published) -> Measurement:
    if isinstance(data, dict) and isinstance(data.get("latency"), dict):
        return _litert(path, data, device, published)
    if isinstance(data, list) and data and all(_is_iteration(item) for item in data):
        return _trtexec(path, data, device, published)
    if isinstance(data, dict) and data.get("tool") == _PACKAGED:
        return _packaged(path, data, device, published)
    message = "is no result of a benchmark that is known"
    hint = "litert-benchmark --result_json FILE, trtexec --exportTimes=FILE, or benchmark.py --json FILE of a package"
    raise _wrong(path, message, hint)


def _load(path: str) -> Any:
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise _wrong(path, "is larger than any result of a benchmark (64 MiB)")
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _wrong(path, "there is no such file") from error
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        message = f"is no JSON (line {error.lineno}): was the benchmark's text saved in its place?"
        raise _wrong(path, message) from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, "is no JSON") from error


def _is_iteration(item: Any) -> bool:
    return isinstance(item, dict) and "computeMs" in item


def _litert(path: str, data: dict[str, Any], device: str, published: Published) -> Measurement:
    """The figures as litert-benchmark rounds them, to a hundredth of a millisecond."""
    latency = data["latency"]
    number = _reader(path, latency)
    _check_model(path, data, published)
    accelerators = data.get("accelerators")
    if not isinstance(accelerators, list) or not all(isinstance(a, str) for a in accelerators):
        raise _wrong(path, "does not say which accelerators ran (`accelerators`)")
    others = "" if accelerators == ["CPU"] else f" ({', '.join(accelerators)})"
    return Measurement(
        label=ON_A_DEVICE, engine=f"litert{others}", version=None, device=device,
        threads=_count(path, data, "num_threads", 1), runs=_count(path, latency, "num_runs", 1),
        warmup=_count(path, latency, "num_warmup_runs", 0),
        mean_ms=number("avg_ms"), min_ms=number("min_ms"), max_ms=number("max_ms"),
        p50_ms=number("median_ms"), p90_ms=None, p95_ms=number("p95_ms"), p99_ms=None,
        sha256=published.sha256, format=published.format, what=ENGINE_ONLY,
        source="litert-benchmark", note="",
    )  # fmt: skip


def _check_model(path: str, data: dict[str, Any], published: Published) -> None:
    """Whether it can have been the published file: its name, its size to 0.01 MiB."""
    name = str(data.get("model", "")).replace("\\", "/").rsplit("/", 1)[-1]
    if name != published.name:
        message = (
            f"measured {name or 'a model without a name'}; {published.build} ships {published.name}"
        )
        hint = "copy the published file to the device under its own name, and measure that"
        raise _wrong(path, message, hint)
    size = data.get("model_size_mb")
    if published.bytes is None or not isinstance(size, int | float):
        return
    if abs(size - published.bytes / _MIB) > 0.0051:
        message = (
            f"measured a {name} of {size:.2f} MiB;"
            f" {published.build} ships one of {published.bytes / _MIB:.2f} MiB"
        )
        hint = "measure the published file, or name the file that ran with --sha256"
        raise _wrong(path, message, hint)


def _packaged(path: str, data: dict[str, Any], device: str, published: Published) -> Measurement:
    """The engine's figures; of the way from a picture to detections the report says nothing."""
    if data.get("sha256") != published.sha256:
        digest = str(data.get("sha256"))[:12]
        message = (
            f"measured another file ({digest}) than {published.build} ships"
            f" ({published.sha256[:12]})"
        )
        hint = "copy the package to the device again, or name the file that ran with --sha256"
        raise _wrong(path, message, hint)
    number = _reader(path, data)
    names = ("mean_ms", "min_ms", "max_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
    own = _on_gpu(path, data) if data.get("format") == "engine" else _on_cpu(path, data)
    return Measurement(
        label=ON_A_DEVICE, version=str(data.get("version") or "") or None, device=device,
        runs=_count(path, data, "runs", 1), warmup=_count(path, data, "warmup", 0),
        sha256=published.sha256, format=published.format, what=ENGINE_ONLY,
        source="benchmark.py", **{**own, **{name: number(name) for name in names}},
    )  # fmt: skip


def _on_cpu(path: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"engine": "litert", "threads": _count(path, data, "threads", 1), "note": ""}


def _on_gpu(path: str, data: dict[str, Any]) -> dict[str, Any]:
    """Figures are of a whole batch: those of two sizes are two, and stand beside each other."""
    if data.get("engine") not in ENGINE_LIBRARIES:
        raise _wrong(path, "does not say which library ran the engine (`engine`)")
    batch, whole = _count(path, data, "batch", 1), data.get("end_to_end")
    note = "times are of the whole batch, by CUDA events, without transfers"
    if isinstance(whole, dict):
        note += f"; with them the mean is {_reader(path, whole)('mean_ms'):g} ms"
    engine = data["engine"] if batch == 1 else f"{data['engine']} (batch {batch})"
    return {"engine": engine, "threads": None, "note": note}


def _trtexec(path: str, data: list[Any], device: str, published: Published) -> Measurement:
    """Files of TensorRT 8.4 and before hold `endToEndMs`, and the warm-up's iterations, too."""
    if published.format not in ("engine", "onnx"):
        message = f"trtexec runs engines and ONNX files; {published.build} ships {published.name}"
        raise _wrong(path, message, "name the build whose file it ran")
    times = [_reader(path, item)("computeMs") for item in data]
    older = any("endToEndMs" in item for item in data)
    note = "the file names no model; the times are of computeMs, without transfers"
    note += ", the warm-up's iterations among them" if older else ""
    figures = summarize(times)
    return Measurement(
        label=ON_A_DEVICE, engine="tensorrt", version=None, device=device, threads=None,
        runs=int(figures.pop("runs")), warmup=None, p95_ms=None, **figures,
        sha256=published.sha256, format=published.format, what=ENGINE_ONLY,
        source="trtexec", note=note,
    )  # fmt: skip


def _reader(path: str, fields: dict[str, Any]) -> Callable[[str], float]:
    """Reads milliseconds: numbers, finite, not below zero. Raises InputError."""

    def number(name: str) -> float:
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong(path, f"has no number in `{name}`")
        if not math.isfinite(value) or value < 0:
            raise _wrong(path, f"`{name}` is {value}: no time")
        return float(value)

    return number


def _count(path: str, fields: dict[str, Any], name: str, least: int) -> int:
    value = fields.get(name)
    if type(value) is not int or value < least:
        raise _wrong(
            path, f"`{name}` is {value!r}; a whole number of at least {least} stands there"
        )
    return value


def _wrong(path: str, message: str, hint: str = "") -> InputError:
    return InputError(Diagnostic(path=path, message=message, hint=hint))
