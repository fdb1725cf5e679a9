"""Loads the engine of this folder with TensorRT-RTX, and runs it once.

    python run.py
    python run.py input.npy --out outputs.npz

`input.npy`: float32 [1, 3, height, width], RGB, prepared as preprocessing.json says; without it zeros
are given. An engine of another version of the library, or for another GPU, is refused in one
sentence. Exit codes: 0 done, 2 the input is wrong, 3 the engine cannot be used here, 4 a Python
package is missing. Nobody has run this on a GPU yet: what is behind `load` was never executed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

HERE = Path(__file__).resolve().parent


class Refused(Exception):
    """One sentence, and the exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def main() -> int:
    """Load, run, and print what came out."""
    parser = argparse.ArgumentParser(description="Loads the engine of this folder, and runs it.")
    parser.add_argument("input", nargs="?", help=".npy, float32 [1, 3, height, width]")
    parser.add_argument("--out", help=".npz to write the outputs to")
    words = parser.parse_args()
    try:
        found = run(words.input)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return refused.code
    for name, values in found.items():
        print(f"{name}: {values.shape}, {values.min():g} to {values.max():g}")
    if words.out:
        import numpy as np

        np.savez(words.out, **found)
    return 0


def run(given: str | None) -> dict[str, np.ndarray]:
    """Outputs by name, float32. Raises Refused."""
    facts = json.loads((HERE / "engine.json").read_text(encoding="utf-8"))
    trt = import_library(facts)
    values = read_input(given, facts["inputs"][0])
    return infer(trt, load(trt, facts), values)


def import_library(facts: dict[str, Any]) -> Any:
    """The library, if it is of the version that built the engine. Raises Refused."""
    wanted = facts["version"]
    try:
        import tensorrt_rtx_bindings as trt
    except ImportError as error:
        message = f"TensorRT-RTX is missing: pip install tensorrt-rtx-cu13=={wanted}"
        raise Refused(message, 4) from error
    if trt.__version__ != wanted:
        raise Refused(
            f"the engine was built by TensorRT-RTX {wanted}, and {trt.__version__} is installed here:"
            f" pip install tensorrt-rtx-cu13=={wanted}, or build the engine anew",
            3,
        )
    return trt


def read_input(given: str | None, wanted: dict[str, Any]) -> np.ndarray:
    """The array that goes in. Raises Refused."""
    try:
        import numpy as np
    except ImportError as error:
        raise Refused("a Python package is missing: pip install numpy", 4) from error
    shape = tuple(wanted["shape"])
    if given is None:
        return np.zeros(shape, np.float32)
    try:
        values = np.load(given)
    except OSError as error:
        raise Refused(f"{given} cannot be read: {error.strerror}", 2) from error
    except ValueError as error:
        raise Refused(f"{given} is no array of numbers in NumPy's format", 2) from error
    if values.shape != shape:
        raise Refused(f"{given} has shape {values.shape}; the network takes {shape}", 2)
    return np.ascontiguousarray(values, np.float32)


def load(trt: Any, facts: dict[str, Any]) -> Any:
    """The engine, ready. Raises Refused where this machine cannot use it."""
    said: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                said.append(" ".join(message.split()).rstrip("."))

    path = HERE / facts["file"]
    if not path.is_file():
        raise Refused(f"{path.name} is not in this folder", 3)
    logger = Logger()
    engine = trt.Runtime(logger).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        gpus = facts["compute_capability"] or "8.0 or later"
        why = said[0] if said else "TensorRT-RTX does not say why"
        raise Refused(
            f"{path.name} cannot be loaded here (it is for an NVIDIA GPU of compute capability"
            f" {gpus}): {why}",
            3,
        )
    return engine


def infer(trt: Any, engine: Any, values: np.ndarray) -> dict[str, np.ndarray]:
    """One inference: copy in, run, copy out. Raises Refused."""
    import numpy as np

    try:
        from cuda.bindings import runtime as cuda
    except ImportError as error:
        raise Refused("a Python package is missing: pip install cuda-bindings", 4) from error
    context, held, outputs = engine.create_execution_context(), {}, {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        incoming = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        array = values if incoming else np.zeros(tuple(engine.get_tensor_shape(name)), np.float32)
        held[name] = check(cuda.cudaMalloc(array.nbytes))
        if incoming:
            kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            check(cuda.cudaMemcpy(held[name], array.ctypes.data, array.nbytes, kind))
        else:
            outputs[name] = array
        context.set_tensor_address(name, held[name])
    if not context.execute_async_v3(0):
        raise Refused("the engine does not run", 3)
    check(cuda.cudaStreamSynchronize(0))
    for name, array in outputs.items():
        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(cuda.cudaMemcpy(array.ctypes.data, held[name], array.nbytes, kind))
    for place in held.values():
        check(cuda.cudaFree(place))
    return outputs


def check(answer: tuple[Any, ...]) -> Any:
    """What a call of CUDA gives. Raises Refused."""
    error, *rest = answer
    if int(error) != 0:
        raise Refused(f"CUDA: {error.name}", 3)
    return rest[0] if rest else None


if __name__ == "__main__":
    sys.exit(main())
