"""Reads what a benchmark on a device wrote, as a measurement of a published file.

`litert-benchmark --result_json FILE` (ai-edge-litert 2.3.0, run here): one object with the model's
path, its accelerators, threads, and rounded times. `trtexec --exportTimes=FILE` (no TensorRT runs
here: the form is that of NVIDIA's samples/common/sampleReporting.cpp, exportJSONTrace): a list of
one object per iteration, whose `computeMs` is the time of the engine alone. `benchmark.py --json
FILE` of a package for Linux (templates/linux): one object with the file's digest. That of a package
with an engine (templates/engine): the same with a batch, and with the time including both copies.

A figure of an engine counts only where the package's runtime.py (templates/engine) would have
loaded it: the same library, version, GPU and batch.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buildsys import typed_json
from buildsys.errors import InputError, shorten
from buildsys.execution.packages.measurements import Measurement
from buildsys.files import read_regular
from buildsys.operations.published_model import Loads, Published
from buildsys.steps.lib.metrics.latency import END_TO_END, ENGINE_ONLY, ON_A_DEVICE, summarize
from buildsys.steps.lib.tensorrt.engine_program import TITLES

_MOST_BYTES = 64 << 20
_MIB = 1 << 20
_LONGEST_MS, _MOST = 1e12, 1 << 63
"""Limits of valid times and counts."""
_LONGEST_MACHINE = 120
NO_DIGEST = (
    "trtexec's file has no digest: only the person who imported it states that this engine ran"
)
_PACKAGED = "buildsys benchmark.py"
"""The tool's name in reports of templates/linux/benchmark.py and templates/engine/benchmark.py."""
TENSORRT = "tensorrt"
_AMPERE = (8, 0)
_RUN = "run the benchmark.py beside the engine, where the engine is loaded"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """The content of a FILE; `machine`: where it ran according to the tool, or empty.

    `whole`: for an engine, the time with the copies to and from the GPU.
    """

    measurement: Measurement
    machine: str
    whole: Measurement | None = None

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """Return one or two measurements."""
        return (self.measurement, *((self.whole,) if self.whole else ()))


def read_benchmark(path: str, device: str, published: Published) -> Benchmark:
    """Read one FILE; its keys show which tool wrote it. Raises InputError."""
    data = _load(path)
    fields = data if isinstance(data, dict) else {}
    machine, name = (
        _words(word) if isinstance(word, str) else ""
        for word in (fields.get("machine"), fields.get("gpu"))
    )
    measurement, whole = _measurement(path, data, device, published), None
    if measurement.format == "engine" and isinstance(fields.get("end_to_end"), dict):
        figures = _figures(path, fields["end_to_end"])
        whole = replace(measurement, what=END_TO_END, **figures)
    for item in (measurement, *((whole,) if whole else ())):
        _check_order(path, item.min_ms, item.mean_ms, item.max_ms)
    return Benchmark(
        measurement=measurement, whole=whole, machine=", ".join(filter(None, (name, machine)))
    )


def _words(text: str) -> str:
    """Return the printable part of a foreign text, on one line."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_LONGEST_MACHINE]


def _measurement(path: str, data: Any, device: str, published: Published) -> Measurement:
    if isinstance(data, dict) and isinstance(data.get("latency"), dict):
        return _litert(path, data, device, published)
    if isinstance(data, list) and data and all(_is_iteration(item) for item in data):
        return _trtexec(path, data, device, published)
    if isinstance(data, dict) and data.get("tool") == _PACKAGED:
        return _packaged(path, data, device, published)
    message = "is not a result of a known benchmark"
    hint = "use litert-benchmark --result_json FILE, trtexec --exportTimes=FILE, or benchmark.py --json FILE of a package"
    raise InputError.at(path, message, hint)


def _load(path: str) -> Any:
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise InputError.at(path, "is larger than any result of a benchmark (64 MiB)")
        return typed_json.read(read_regular(path))
    except FileNotFoundError as error:
        raise InputError.at(path, "the file does not exist") from error
    except OSError as error:
        raise InputError.at(path, f"cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        message = (
            f"is not JSON (line {error.lineno}): did you save the benchmark's text output instead?"
        )
        raise InputError.at(path, message) from error
    except UnicodeDecodeError as error:
        raise InputError.at(path, "is not JSON: it is not UTF-8") from error
    except ValueError as error:
        raise InputError.at(path, f"is not JSON: {error}") from error


def _is_iteration(item: Any) -> bool:
    return isinstance(item, dict) and "computeMs" in item


def _litert(path: str, data: dict[str, Any], device: str, published: Published) -> Measurement:
    """Read the figures of litert-benchmark, which rounds to a hundredth of a millisecond."""
    latency = data["latency"]
    number = _reader(path, latency)
    _check_model(path, data, published)
    accelerators = data.get("accelerators")
    if not isinstance(accelerators, list) or not all(isinstance(a, str) for a in accelerators):
        raise InputError.at(path, "does not name the accelerators that ran (`accelerators`)")
    others = "" if accelerators == ["CPU"] else f" ({_words(', '.join(accelerators))})"
    return Measurement(
        label=ON_A_DEVICE,
        engine=f"litert{others}",
        version=None,
        device=device,
        threads=_count(path, data, "num_threads", 1),
        runs=_count(path, latency, "num_runs", 1),
        warmup=_count(path, latency, "num_warmup_runs", 0),
        mean_ms=number("avg_ms"),
        min_ms=number("min_ms"),
        max_ms=number("max_ms"),
        p50_ms=number("median_ms"),
        p90_ms=None,
        p95_ms=number("p95_ms"),
        p99_ms=None,
        sha256=published.sha256,
        format=published.format,
        what=ENGINE_ONLY,
        source="litert-benchmark",
        note="",
    )


def _check_model(path: str, data: dict[str, Any], published: Published) -> None:
    """Raise InputError unless it can have been the published file: same name, same size to 0.01
    MiB.
    """
    name = str(data.get("model", "")).replace("\\", "/").rsplit("/", 1)[-1]
    if name != published.name:
        message = (
            f"measured {name or 'a model without a name'}; {published.build} ships {published.name}"
        )
        hint = "copy the published file to the device under its own name, and measure that"
        raise InputError.at(path, message, hint)
    size = data.get("model_size_mb")
    if published.bytes is None or not isinstance(size, int | float) or not 0 <= size < _MOST:
        return
    if abs(size - published.bytes / _MIB) > 0.0051:
        message = (
            f"measured a {name} of {size:.2f} MiB;"
            f" {published.build} ships one of {published.bytes / _MIB:.2f} MiB"
        )
        hint = "measure the published file, or name the file that ran with --sha256"
        raise InputError.at(path, message, hint)


def _packaged(path: str, data: dict[str, Any], device: str, published: Published) -> Measurement:
    """Read the time of the network alone; the report does not use the time from image to
    detections.
    """
    if data.get("sha256") != published.sha256:
        digest = str(data.get("sha256"))[:12]
        message = (
            f"measured a file ({digest}) that {published.build} does not ship"
            f" ({published.sha256[:12]})"
        )
        hint = "copy the package to the device again, or name the file that ran with --sha256"
        raise InputError.at(path, message, hint)
    if (data.get("format") == "engine") != (published.format == "engine"):
        message = f"was written by benchmark.py of another kind of package than {published.build}"
        raise InputError.at(path, message, "run the benchmark.py beside the file")
    engine, threads, batch = "litert", None, None
    if published.format == "engine":
        engine, batch = _check_engine_report(path, data, published)
    else:
        threads = _count(path, data, "threads", 1)
    return Measurement(
        label=ON_A_DEVICE,
        engine=engine,
        version=_words(str(data.get("version") or "")) or None,
        device=device,
        threads=threads,
        runs=_count(path, data, "runs", 1),
        warmup=_count(path, data, "warmup", 0),
        sha256=published.sha256,
        format=published.format,
        what=ENGINE_ONLY,
        source="benchmark.py",
        note="",
        batch=batch,
        **_figures(path, data),
    )


def _check_engine_report(path: str, data: dict[str, Any], published: Published) -> tuple[str, int]:
    """Return (library, batch) of an engine that was timed alone, by CUDA's events."""
    library = data.get("engine")
    if not isinstance(library, str) or library not in TITLES:
        raise InputError.at(path, f"`engine` is {library!r}; it is one of {', '.join(TITLES)}")
    batch = _count(path, data, "batch", 1)
    if published.loads is not None:
        _check_engine(path, data, published.build, published.loads)
    return str(library), batch


def _figures(path: str, data: dict[str, Any]) -> dict[str, Any]:
    number = _reader(path, data)
    names = ("mean_ms", "min_ms", "max_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms")
    return {name: number(name) for name in names}


def _check_order(path: str, least: float, mean: float, most: float) -> None:
    """Check that the mean is between the extremes; summing may change its last digit."""
    slack = 1e-6 * mean
    if not least - slack <= mean <= most + slack:
        message = f"has a mean of {mean:g} ms, a least of {least:g} and a most of {most:g}: runs cannot have these times"
        raise InputError.at(path, message, "did someone edit it? Use the file that the tool wrote")


def _trtexec(path: str, data: list[Any], device: str, published: Published) -> Measurement:
    """Read the times of trtexec; TensorRT up to 8.4 also writes `endToEndMs` and the warm-up."""
    _check_trtexec(path, published.build, published.name, published.format, published.loads)
    times = [_reader(path, item)("computeMs") for item in data]
    older = any("endToEndMs" in item for item in data)
    note = f"{NO_DIGEST}; the times are of computeMs, without transfers"
    note += ", the warm-up's iterations among them" if older else ""
    batch = _fixed_batch(published.loads)
    if batch is None:
        note += ", of an unknown batch"
    figures = summarize(times)
    return Measurement(
        label=ON_A_DEVICE,
        engine=TENSORRT,
        version=None,
        device=device,
        threads=None,
        runs=int(figures.pop("runs")),
        warmup=None,
        p95_ms=None,
        batch=batch,
        **figures,
        sha256=published.sha256,
        format=published.format,
        what=ENGINE_ONLY,
        source="trtexec",
        note=note,
    )


def _fixed_batch(loads: Loads | None) -> int | None:
    """Return the batch of an engine that has only one; trtexec's file does not state it."""
    least, most = loads.batch if loads is not None else (0, 0)
    return least if least == most and least else None


def _reader(path: str, fields: dict[str, Any]) -> Callable[[str], float]:
    """Return a function that reads milliseconds: finite numbers, not below zero.

    Raises InputError.
    """

    def number(name: str) -> float:
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError.at(path, f"does not have a number in `{name}`")
        if not 0 <= value < _LONGEST_MS:
            raise InputError.at(path, f"`{name}` is {shorten(str(value))}: not a time")
        return float(value)

    return number


def _count(path: str, fields: dict[str, Any], name: str, least: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value < _MOST:
        raise InputError.at(
            path,
            f"`{name}` is {shorten(repr(value))}; expected a whole number of at least {least}",
        )
    return value


def _check_engine(path: str, data: Mapping[str, Any], build: str, loads: Loads) -> None:
    """Raise InputError unless the engine fits; `data`: as benchmark.py of a package writes it."""
    library, version = str(data.get("engine")), str(data.get("version"))
    capability, batch = str(data.get("compute_capability")), int(data["batch"])
    ours, (least, most) = TITLES.get(loads.library, loads.library), loads.batch
    if library != loads.library:
        found = TITLES.get(library, library)
        raise InputError.at(
            path, f"was measured with {found}; the engine of {build} is one of {ours}", _RUN
        )
    newer = loads.newer and _numbers(version) >= _numbers(loads.version)
    if version != loads.version and not newer:
        message = f"was measured with {ours} {version}; the engine of {build} is of {loads.version}"
        raise InputError.at(path, message, _RUN)
    fits = capability == loads.capability if loads.capability else _numbers(capability) >= _AMPERE
    if not fits:
        wanted = loads.capability or "8.0 or later"
        message = (
            f"was measured on a GPU of compute capability {capability}; the engine of {build} is"
            f" for {wanted}"
        )
        raise InputError.at(path, message, _RUN)
    if not least <= batch <= most:
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise InputError.at(path, f"`batch` is {batch}; the engine of {build} takes {takes}", _RUN)


def _check_trtexec(path: str, build: str, name: str, kind: str, loads: Loads | None) -> None:
    """Raise InputError for trtexec's times of an ONNX file, from which it builds another engine.

    `name`, `kind`: the file that the build ships, and its format.
    """
    if kind != "engine":
        message, hint = f"{build} ships {name}", "name the build whose engine it ran"
    elif loads is not None and loads.library != TENSORRT:
        message = f"{build} ships one of {TITLES.get(loads.library, loads.library)}"
        hint = "benchmark.py of the package times it"
    else:
        return
    raise InputError.at(path, f"trtexec times engines of TensorRT; {message}", hint)


def _numbers(version: str) -> tuple[int, ...]:
    """Return (10, 3, 0) for "10.3.0"; empty for an invalid version."""
    parts = version.split(".")
    known = all(part.isdecimal() and len(part) < 10 for part in parts)
    return tuple(map(int, parts)) if known else ()
