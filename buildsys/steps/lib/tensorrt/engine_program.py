"""ONNX file -> serialized engine, by TensorRT's Python API: `python -s engine_program.py request.json`.

A separate program that imports nothing of buildsys: it needs Python 3.8 or later and the library that
builds. Steps run it, and bundles contain it. It supports:

- TensorRT-RTX: builds ahead of time, for one compute capability or for all, without a GPU
- TensorRT 11 and later: every network is strongly typed, and the flag for it is ignored
- TensorRT 10: strongly typed if the request says so, by that flag; 8.6 has no such flag. Code for these
  versions alone is in the modules beside: `engine_calibration`, and `engine_weakly_typed`, which was never
  run on a GPU

(https://docs.nvidia.com/deeplearning/tensorrt/11.4.0/api/migration/tensorrt-10x-to-11x.html).

request.json, all keys: `library` tensorrt | tensorrt-rtx; `version`, a beginning of the library's
version; `compute_capability` "8.7", or with TensorRT-RTX "" for all from 8.0 on; `gpu`, its name;
`onnx`, `engine`, `facts`, `error`: files; `workspace_gib`; `optimization_level` 0 to 5,
of TensorRT alone; `version_compatible`; `hardware_compatibility` none | ampere-plus |
same-compute-capability; `batch` [least, usual, most]; `typed`: the precision is the file's own;
otherwise `scheme` float32 | float16 | int8 sets flags, `half` float16 beside int8, with `calibration_cache` (read where it is,
written where `pictures` is given), `pictures` (.npy, float32 [n, 3, h, w], prepared) and
`calibration_batch`, copied to the GPU by the module `cudart`, a file of packages; `timing_cache`: a folder of them, one file per library, exact version and compute
capability, read where it is and written anew. A file that is not wanted is "".

The facts, JSON: library, exact version, compute capability, GPU, system, inputs, outputs (-1 for a
dynamic batch). The size of the timing cache is printed: it depends on earlier builds. Exit codes: 0
done, 2 the request is wrong, 3 the file `error` contains the reason, 4 it does, and the library is
missing.

TensorRT-RTX 1.7 orders the outputs in a float16 engine's tables by addresses: the same network, built
twice in one process, gives two files. In a process of its own, without randomized addresses (see
separate_process.py) and with constant arguments and environment, one installation gives the same bytes,
in every folder. Therefore everything that runs for TensorRT-RTX is in this file.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx_bindings"}
"""Name of a library's Python package."""
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
"""Names of the libraries that a target can request."""
_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of CUDA's driver API."""
_KEYS = (
    "library",
    "version",
    "compute_capability",
    "gpu",
    "onnx",
    "engine",
    "facts",
    "error",
    "workspace_gib",
    "optimization_level",
    "version_compatible",
    "hardware_compatibility",
    "batch",
    "typed",
    "scheme",
    "half",
    "calibration_cache",
    "pictures",
    "calibration_batch",
    "cudart",
    "timing_cache",
)
_LEVELS = {"ampere-plus": "AMPERE_PLUS", "same-compute-capability": "SAME_COMPUTE_CAPABILITY"}


class Refused(Exception):
    """What prevents the build: a fact of the host, the network or the settings, in a sentence."""

    def __init__(self, sentence: str, code: int = 3) -> None:
        super().__init__(sentence)
        self.code = code


def main() -> int:
    """Check the host, build, and write what was built."""
    try:
        request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        missing = [key for key in _KEYS if key not in request]
        onnx = Path(request["onnx"]).read_bytes() if not missing else b""
    except (OSError, ValueError, IndexError, TypeError) as error:
        print(f"the request cannot be read: {error}", file=sys.stderr)
        return 2
    if missing:
        print(f"the request lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    try:
        trt, found = check_host(request)
        engine, facts = build(trt, request, onnx, timing_cache(request, found))
        _write(request, engine, {**found, **facts})
    except Refused as error:
        Path(request["error"]).write_text(str(error), encoding="utf-8")
        return error.code
    return 0


def _write(request: dict[str, Any], engine: bytes, facts: dict[str, Any]) -> None:
    """Write both files; remove the engine if the disk is full. Raises Refused."""
    text = json.dumps(facts, indent=1, sort_keys=True)
    try:
        Path(request["engine"]).write_bytes(engine)
        Path(request["facts"]).write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        Path(request["engine"]).unlink()
        raise Refused(f"the engine cannot be written: {error.strerror or error}") from error


def check_host(request: dict[str, Any]) -> tuple[Any, dict[str, str]]:
    """Return the library, and facts about it and the GPU. Raises Refused if they are not the requested ones."""
    title, wanted = TITLES[request["library"]], request["version"]
    module = MODULES[request["library"]]
    try:
        trt = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # its start-up code may raise anything
        absent = isinstance(error, ImportError) and error.name == module
        reason = one_line(str(error)) or type(error).__name__
        why = "is missing" if absent else f"cannot be imported, {reason}"
        raise Refused(f"{title} {wanted} {why}", 4) from error
    version = str(getattr(trt, "__version__", ""))
    if not version:
        place = getattr(trt, "__file__", None) or list(getattr(trt, "__path__", ()))
        raise Refused(
            f"{title} {wanted} is missing: the module {module} here ({place}) has no version", 4
        )
    if version.split(".")[: len(wanted.split("."))] != wanted.split("."):
        raise Refused(f"{title} {wanted} is wanted, and {version} is installed here")
    capability, gpu = request["compute_capability"], ""
    if request["library"] == "tensorrt":
        gpu, capability = find_gpu()
        if capability != request["compute_capability"]:
            whose = f" ({request['gpu']})" if request["gpu"] else ""
            raise Refused(
                f"a GPU of compute capability {request['compute_capability']}{whose} is wanted, and"
                f" the one here, {gpu}, has {capability}"
            )
    return trt, {
        "library": request["library"],
        "version": version,
        "compute_capability": capability,
        "gpu": gpu,
        "system": f"{sys.platform}-{platform.machine()}",
    }


def find_gpu() -> tuple[str, str]:
    """Return name and compute capability of the first GPU, from CUDA's driver API. Raises Refused."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise Refused("no NVIDIA GPU is here: the driver's libcuda.so.1 is missing") from error
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    digits = [ctypes.c_int() for _ in _CAPABILITY]
    code = cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0)
    code = code or cuda.cuDeviceGetName(name, len(name), device)
    for digit, attribute in zip(digits, _CAPABILITY):  # noqa: B905, `strict` is of Python 3.10
        code = code or cuda.cuDeviceGetAttribute(ctypes.byref(digit), attribute, device)
    if code:
        raise Refused(f"no NVIDIA GPU can be used here: the driver answers with error {code}")
    return name.value.decode(errors="replace"), ".".join(str(digit.value) for digit in digits)


def build(
    trt: Any, request: dict[str, Any], onnx: bytes, timings: Path | None
) -> tuple[bytes, dict[str, Any]]:
    """Return the engine, and facts about its inputs and outputs. Raises Refused."""
    logger, flags = _make_logger(trt), _creation_flags(trt, request)
    title = f"{TITLES[request['library']]} {trt.__version__}"
    builder = _start(title, logger, lambda: trt.Builder(logger))
    network = _start(title, logger, lambda: builder.create_network(flags))
    parser = _start(title, logger, lambda: trt.OnnxParser(network, logger))
    if not parser.parse(onnx):
        raise Refused(f"the ONNX parser refuses the network: {_parser_errors(parser)}")
    facts: dict[str, Any] = {  # told before the builder reorders them
        "inputs": [_describe(network.get_input(i)) for i in range(network.num_inputs)],
        "outputs": [_describe(network.get_output(i)) for i in range(network.num_outputs)],
    }
    config = _start(title, logger, builder.create_builder_config)
    _configure(trt, config, request)
    _profile(trt, builder, network, config, request["batch"])
    calibrated = None
    if not request["typed"]:
        calibrated = _weaken(trt, builder, network, config, request)
    cache, before = _attach_timing(config, timings)
    engine = builder.build_serialized_network(network, config)
    logger.print_repeated()
    spoilt = calibrated[1].fault() if calibrated else ""
    if engine is None or spoilt:
        why = spoilt or logger.last or "it does not say why"
        raise Refused(f"the builder gives no engine: {why}")
    _keep_timing(cache, before, timings)
    return bytes(engine), facts


def _start(title: str, logger: Any, make: Callable[[], Any]) -> Any:
    """Return an object that the library makes. Raises Refused if it makes none.

    With a driver that is too old, for example, constructors raise TypeError ("factory function returned
    nullptr"), and methods return None.
    """
    try:
        made = make()
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        made = None
    if made is None:
        why = logger.last or "it does not say why; a driver that is too old for it is one reason"
        raise Refused(f"{title} does not start here: {why}")
    return made


def _creation_flags(trt: Any, request: dict[str, Any]) -> int:
    """Return the flags of the network: strongly typed if the request says so. Raises Refused.

    TensorRT 8 has no such flag, and requires another one, for an explicit batch, to read ONNX.
    """
    flags = trt.NetworkDefinitionCreationFlag
    if request["library"] == "tensorrt" and trt.__version__.startswith("8."):
        if request["typed"]:
            raise Refused(f"TensorRT {trt.__version__} has no strongly typed networks")
        return 1 << int(flags.EXPLICIT_BATCH)
    strong = getattr(flags, "STRONGLY_TYPED", None)  # ignored since 11: it may go one day
    return 1 << int(strong) if request["typed"] and strong is not None else 0


def _configure(trt: Any, config: Any, request: dict[str, Any]) -> None:
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and float32 would have 10 bits
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_gib"] << 30)
    if request["library"] == "tensorrt":
        config.builder_optimization_level = request["optimization_level"]
    if request["version_compatible"]:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if request["hardware_compatibility"] != "none":
        name = _LEVELS[request["hardware_compatibility"]]
        if not hasattr(trt.HardwareCompatibilityLevel, name):
            raise Refused(f"this library has no hardware compatibility level {name}")
        config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, name)
    capability = request["compute_capability"]
    if capability and request["library"] == "tensorrt-rtx":
        chosen = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
        config.num_compute_capabilities = 1
        if chosen is None or not config.set_compute_capability(chosen, 0):
            raise Refused(f"the library does not build for compute capability {capability}")


def _profile(trt: Any, builder: Any, network: Any, config: Any, batch: list[int]) -> None:
    """Add an optimization profile if the batch is dynamic. Raises Refused.

    All other axes must have fixed sizes.
    """
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        first, *rest = tuple(tensor.shape) or (1,)
        if min(rest, default=1) < 0:
            shape = " x ".join("?" if side < 0 else str(side) for side in tensor.shape)
            raise Refused(f"its input {tensor.name} is open ({shape}); export it with fixed sizes")
        if first >= 0 and batch[0] != batch[2]:
            wanted = f"{batch[0]} to {batch[2]}"
            raise Refused(
                f"its input {tensor.name} takes {first}, and a batch of {wanted} is wanted"
            )
        if first < 0:
            if profile is None:  # one that is not complete counts as false
                profile = builder.create_optimization_profile()
            profile.set_shape(tensor.name, *((count, *rest) for count in batch))
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise Refused(f"the library takes no batch of {batch[0]} to {batch[2]}")


def _weaken(trt: Any, builder: Any, network: Any, config: Any, request: dict[str, Any]) -> Any:
    """Set precisions by flags and calibration (TensorRT 10 and earlier). Raises Refused.

    Returns what `engine_calibration.lower` returns.
    """
    try:
        lower = _beside("calibration").lower
        return lower(_beside("weakly_typed"), trt, builder, network, config, request)
    except ValueError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"{error.filename or 'calibration'}: {error.strerror or error}") from error


def _beside(name: str) -> Any:
    """Return the module beside this file, with `name` instead of "program" in its file name.

    It is found by its path, because in a bundle these files belong to no package.
    """
    path = Path(__file__)
    path = path.with_name(path.name.replace("program", name))
    spec = importlib.util.spec_from_file_location(path.stem, str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def timing_cache(request: dict[str, Any], found: dict[str, str]) -> Path | None:
    """Return the file of the timing cache; None if none is requested, and for TensorRT-RTX.

    TensorRT-RTX has none: since 1.2 its functions for it do nothing, as their own warning says, and
    they serialize 172 bytes without an entry.
    """
    if not request["timing_cache"] or request["library"] == "tensorrt-rtx":
        return None
    name = f"{request['library']}-{found['version']}-{found['compute_capability']}.cache"
    return Path(request["timing_cache"]) / name


def _attach_timing(config: Any, path: Path | None) -> tuple[Any, int]:
    """Return the timing cache that the build uses, and the number of bytes read from its file."""
    known = path.read_bytes() if path is not None and path.is_file() else b""
    for data in () if path is None else (known, b"") if known else (b"",):
        try:
            cache = config.create_timing_cache(data)
            if cache is not None and config.set_timing_cache(cache, False):
                return cache, len(data)
        except (RuntimeError, TypeError, ValueError) as error:
            print(f"timing cache: {one_line(str(error))}")
        print("the timing cache is damaged or of another GPU or version: it is passed over")
    return None, 0


def _keep_timing(cache: Any, before: int, path: Path | None) -> None:
    """Write the timing cache; another build never reads half of it.

    A file that cannot be written is only printed: the engine is complete.
    """
    if cache is None or path is None:
        return
    data, fresh = bytes(cache.serialize()), path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_bytes(data)
        fresh.replace(path)
    except OSError as error:  # the engine is there, and is what matters
        print(f"the timing cache cannot be kept: {error.strerror or error}")
        return
    print(f"timing cache: {before:,} bytes were read, it has {len(data):,} now")


def _describe(tensor: Any) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "shape": list(tensor.shape),
        "dtype": str(tensor.dtype).split(".")[-1],
    }


def _parser_errors(parser: Any) -> str:
    """Return the parser's first error, with its node; version 8.6 does not name nodes."""
    if not parser.num_errors:
        return "it does not say why"
    error = parser.get_error(0)
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    place = f" (node {error.node_name()}, {operator})" if operator else ""
    return one_line(error.desc()) + place


def one_line(text: str) -> str:
    """Return the first 300 characters of a tool's message, without line breaks and the full stop."""
    return " ".join(text.split())[:300].rstrip(". ")


def _make_logger(trt: Any) -> Any:
    """Return a logger that prints each error and warning once, and keeps the last error.

    `print_repeated` prints those that came several times with their number.
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""
            self.counts: dict[str, int] = {}

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.last = one_line(message)
            if severity <= trt.ILogger.Severity.WARNING:
                line = f"{severity.name.lower()}: {message}"
                self.counts[line] = self.counts.get(line, 0) + 1
                if self.counts[line] == 1:
                    print(line, flush=True)  # it may abort next

        def print_repeated(self) -> None:
            for line, count in self.counts.items():
                if count > 1:
                    print(f"{line} ({count} times)", flush=True)

    return Logger()


if __name__ == "__main__":
    sys.path.pop(0)  # a step's module is no library
    sys.exit(main())
