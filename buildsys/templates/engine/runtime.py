"""Opens an engine with the library that built it, and runs it: numpy, the library, the CUDA runtime.

    engine = open_engine(facts, Path("name.engine"))  # facts: engine.json
    outputs = engine.infer(batch)

The library is TensorRT (8.6 and later) or TensorRT-RTX, whichever engine.json names; neither loads the
other's engines. What cannot be used here is refused in one sentence. Runs on Python 3.8 and later.
What is behind `deserialize` needs a GPU, and nobody has run it on one yet.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cudart import COUNT, FROM_GPU, TO_GPU, Cuda, Refused

if TYPE_CHECKING:
    import numpy as np

LIBRARIES = {
    "tensorrt": ("TensorRT", "tensorrt", "JetPack and NVIDIA's TensorRT packages bring it"),
    "tensorrt-rtx": (
        "TensorRT-RTX",
        "tensorrt_rtx_bindings",
        "pip install tensorrt-rtx-cu13=={version}",
    ),
}
"""What engine.json calls a library: its name, its Python module, where it comes from."""
TYPES = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "BOOL": "bool"}
"""Of TensorRT's DataType, in numpy's words."""
LEAST = (8, 0)
"""Compute capability from which engines run that are for no single one: Ampere."""


class Engine:
    """An engine that is ready to run, on the first GPU that CUDA shows.

    `input` its name; `shape` of it, -1 where the batch is open; `batch` (least, best, most) pictures;
    `version` of the library; `gpu`, `capability` in NVIDIA's words.
    """

    def __init__(self, trt: Any, cuda: Cuda, loaded: Any, context: Any) -> None:
        names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
        modes = {name: loaded.get_tensor_mode(name) for name in names}
        (self.input,) = [name for name in names if modes[name] == trt.TensorIOMode.INPUT]
        self.outputs = tuple(name for name in names if name != self.input)
        self.shape = tuple(loaded.get_tensor_shape(self.input))
        self.batch = (self.shape[0],) * 3
        if self.shape[0] < 0:
            profile = loaded.get_tensor_profile_shape(self.input, 0)
            self.batch = tuple(shape[0] for shape in profile)
        self.version, self.gpu = str(trt.__version__), cuda.gpu()
        self.capability = cuda.capability()
        self._loaded, self._context, self._cuda = loaded, context, cuda
        self._stream = cuda.make("cudaStreamCreate")
        self._ends = tuple(cuda.make("cudaEventCreate") for _ in range(2))
        self._host: dict[str, np.ndarray] = {}
        self._device: dict[str, Any] = {}

    def infer(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Pictures, float32 [B, 3, H, W] -> outputs by name, float32. Raises Refused."""
        import numpy as np

        self._prepare(batch)
        self._copy_in(batch)
        self._run()
        self._copy_out()
        return {name: self._host[name].astype(np.float32) for name in self.outputs}

    def time(self, batch: np.ndarray, warmup: int, runs: int) -> dict[str, list[float]]:
        """Milliseconds of each of `runs` runs behind `warmup` others, in two ways.

        `engine`: by CUDA events around the engine, from an input on the GPU to outputs on the GPU;
        `end_to_end`: by the host's clock from the array to arrays, both copies included.
        """
        self._prepare(batch)
        self._copy_in(batch)
        alone = [self._time_alone() for _ in range(warmup + runs)]
        whole = [self._time_whole(batch) for _ in range(warmup + runs)]
        return {"engine": alone[warmup:], "end_to_end": whole[warmup:]}

    def _time_alone(self) -> float:
        started, ended = self._ends
        self._cuda.cudaEventRecord(started, self._stream)
        self._run()
        self._cuda.cudaEventRecord(ended, self._stream)
        self._cuda.cudaStreamSynchronize(self._stream)
        passed = ctypes.c_float()
        self._cuda.cudaEventElapsedTime(ctypes.byref(passed), started, ended)
        return passed.value

    def _time_whole(self, batch: np.ndarray) -> float:
        started = time.perf_counter()
        self._copy_in(batch)
        self._run()
        self._copy_out()
        return (time.perf_counter() - started) * 1000

    def _prepare(self, batch: np.ndarray) -> None:
        """Room for a batch of this shape, on both sides; it stays until another shape comes."""
        import numpy as np

        least, _, most = self.batch
        if batch.ndim != 4 or batch.shape[1:] != self.shape[1:]:
            wanted = " x ".join(map(str, self.shape[1:]))
            raise Refused(f"the input is {batch.shape}; the engine takes B x {wanted}", 2)
        if not least <= len(batch) <= most:
            message = f"the batch is of {len(batch)}; the engine takes {least} to {most}"
            raise Refused(message, 2)
        if self._host and self._host[self.input].shape == batch.shape:
            return
        self.close()
        if not self._context.set_input_shape(self.input, batch.shape):
            raise Refused(f"the engine does not take an input of {batch.shape}", 3)
        for name in (self.input, *self.outputs):
            dtype = str(self._loaded.get_tensor_dtype(name)).rsplit(".", 1)[-1]
            array = np.empty(tuple(self._context.get_tensor_shape(name)), TYPES[dtype])
            self._device[name] = self._cuda.make("cudaMalloc", array.nbytes)
            self._host[name] = array
            if not self._context.set_tensor_address(name, self._device[name].value):
                raise Refused(f"the engine does not take memory for {name}", 3)

    def _copy_in(self, batch: np.ndarray) -> None:
        held = self._host[self.input]
        held[...] = batch
        place = self._device[self.input]
        self._cuda.cudaMemcpyAsync(place, held.ctypes.data, held.nbytes, TO_GPU, self._stream)

    def _run(self) -> None:
        if not self._context.execute_async_v3(self._stream.value):
            raise Refused("the engine does not run, and does not say why", 3)

    def _copy_out(self) -> None:
        for name in self.outputs:
            held, place = self._host[name], self._device[name]
            self._cuda.cudaMemcpyAsync(held.ctypes.data, place, held.nbytes, FROM_GPU, self._stream)
        self._cuda.cudaStreamSynchronize(self._stream)

    def close(self) -> None:
        """Give the room on the GPU back."""
        for place in self._device.values():
            self._cuda.cudaFree(place)
        self._device.clear()
        self._host.clear()


def open_engine(facts: dict[str, Any], path: Path) -> Engine:
    """The engine `path` that engine.json describes as `facts`, ready to run.

    Raises Refused for another version, for a machine without the right GPU, for a damaged file.
    """
    trt = import_library(facts)
    content = read_plan(facts, path)
    try:
        import numpy  # noqa: F401, ICN001 - only whether it is here
    except ImportError as error:
        raise Refused("a Python package is missing: pip install numpy", 4) from error
    cuda = find_gpu(facts, path)
    return Engine(trt, cuda, *deserialize(trt, facts, path, content))


def import_library(facts: dict[str, Any]) -> Any:
    """The library's module, if it is of a version that loads the engine. Raises Refused."""
    name, module, source = LIBRARIES[facts["library"]]
    wanted = facts["version"]
    try:
        trt = importlib.import_module(module)
    except (ImportError, OSError) as error:  # its Python part; a library below it
        message = f"{name} is missing: {source.format(version=wanted)}"
        if not isinstance(error, ModuleNotFoundError):
            message = f"{name} cannot be loaded here: {' '.join(str(error).split())}"
        raise Refused(message, 4) from error
    found = str(trt.__version__)
    newer = facts.get("version_compatible") and numbers(found) >= numbers(wanted)
    if found != wanted and not newer:
        hint = f"{source.format(version=wanted)}, or build the engine anew"
        message = f"the engine was built by {name} {wanted}, and {found} is installed here: {hint}"
        raise Refused(message, 3)
    return trt


def numbers(version: str) -> tuple[int, ...]:
    """ "10.3.0" -> (10, 3, 0); what is no number ends it."""
    found = []
    for part in version.split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)


def read_plan(facts: dict[str, Any], path: Path) -> bytes:
    """The engine's bytes, as they were packed. Raises Refused."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: {error.strerror}", 3) from error
    if facts.get("sha256", "") not in ("", hashlib.sha256(content).hexdigest()):
        message = f"{path.name} is not the file that was packed: copy the whole package again"
        raise Refused(message, 3)
    return content


def find_gpu(facts: dict[str, Any], path: Path) -> Cuda:
    """CUDA, if its first GPU is one that the engine is for. Raises Refused."""
    wanted, level = facts["compute_capability"], facts.get("hardware_compatibility", "none")
    single = bool(wanted) and level != "ampere-plus"
    gpus = wanted if single else "8.0 or later"
    refusal = (
        f"{path.name} cannot be loaded here (it is for an NVIDIA GPU of compute capability {gpus})"
    )
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        message = f"{refusal}: there is no NVIDIA driver (libcuda.so.1)"
        raise Refused(message, 3) from error
    cuda, count = Cuda(), COUNT()
    try:
        cuda.cudaGetDeviceCount(ctypes.byref(count))
    except Refused as error:
        raise Refused(f"{refusal}: {error}", 3) from error
    found = cuda.capability()
    if found != wanted if single else numbers(found) < LEAST:
        raise Refused(f"{refusal}: this one is {cuda.gpu()}, of {found}", 3)
    return cuda


def deserialize(trt: Any, facts: dict[str, Any], path: Path, content: bytes) -> tuple[Any, Any]:
    """The library's own engine, and what runs it. Raises Refused where it does not take the file."""
    messages: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                messages.append(" ".join(message.split()).rstrip("."))

    loaded = context = None
    try:
        runtime = trt.Runtime(Logger())
        if facts.get("version_compatible"):
            runtime.engine_host_code_allowed = True  # such an engine brings a runtime of its own
        loaded = runtime.deserialize_cuda_engine(content)
        context = None if loaded is None else loaded.create_execution_context()  # 8.6's is false
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        messages.append("the library does not start; the driver may be too old for it")
    if context is None:
        why = messages[0] if messages else "the library does not say why"
        raise Refused(f"{path.name} cannot be loaded here: {why}", 3)
    return loaded, context
