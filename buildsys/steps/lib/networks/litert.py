"""Run TFLite files with LiteRT, in the evaluation environment."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files import tflite
from buildsys.steps.lib.files.tflite_bounds import demand_tflite
from buildsys.steps.lib.runtime.progress import fail
from buildsys.steps.lib.runtime.tensorflow_setup import dequantize, quantize


class Kernels(StrEnum):
    """The kernels that compute, as named in metrics.json and in latencies."""

    REFERENCE = "reference, as TFLite Micro's"
    DEFAULT = "default (optimized, XNNPACK)"
    BUILTIN = "optimized, without XNNPACK"


def choose_kernels(path: Path, reference: bool) -> Kernels:
    """Return the kernels that give the same numbers on every CPU: XNNPACK's float kernels depend on
    the CPU (its sigmoid does), TFLite's own do not and take four times as long; integer kernels all
    agree.
    """
    if reference:
        return Kernels.REFERENCE
    return Kernels.DEFAULT if tflite.computes_in_integers(path) else Kernels.BUILTIN


class Runner:
    """An opened TFLite file: one image in, named float outputs out."""

    def __init__(self, path: Path, reference_kernels: bool = False) -> None:
        """Open the file. `reference_kernels`: TFLite's plain loops, bit-exact with TFLite Micro and
        far slower.
        """
        self._path, self._names = path, [tensor.name for tensor in tflite.read(path).outputs]
        self._interpreter = open_interpreter(path, reference_kernels)
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    def __call__(self, picture: Any) -> dict[str, Any]:
        """Run the file on an image uint8 [h, w, 3]; returns {name: float32 array}, with the
        signature's names if there is one.
        """
        self._interpreter.set_tensor(self._input["index"], fill(self._path, self._input, picture))
        self._interpreter.invoke()
        return {
            name: dequantize(self._interpreter.get_tensor(detail["index"]), detail)
            for name, detail in zip(self._names, self._outputs, strict=True)
        }


def fill(path: Path, detail: dict[str, Any], picture: Any) -> Any:
    """Return what a file's input, described by `detail`, takes for an image uint8 [h, w, 3].

    Ends the step for images of another size, and for an input of integers without a scale.
    """
    import numpy as np

    demand_picture(path, detail["shape"], picture)
    dtype, (scale, _) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind != "f" and scale == 0:
        fail(
            f"{path.resolve().name} takes {dtype} images without a scale: what its integers mean is unknown."
        )
    return quantize(picture[None].astype(np.float32) / 255, detail)


def demand_picture(path: Path, wanted: Any, picture: Any) -> None:
    """End the step if a file does not accept images [h, w, 3] of the recipe's size."""
    shape = [int(side) for side in wanted]
    if shape != [1, *picture.shape]:
        fail(
            f"{path.resolve().name} takes {shape}; the recipe's images are [1,"
            f" {', '.join(map(str, picture.shape))}]: `input` gives their size."
        )


def open_interpreter(path: Path, reference_kernels: bool) -> Any:
    """Return an interpreter of the file with allocated tensors; ends the step if LiteRT cannot run
    it.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    demand_tflite(path)
    kind = {
        Kernels.REFERENCE: OpResolverType.BUILTIN_REF,
        Kernels.DEFAULT: OpResolverType.AUTO,
        Kernels.BUILTIN: OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }[choose_kernels(path, reference_kernels)]
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    try:
        interpreter = Interpreter(
            model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        fail(f"LiteRT cannot run {path.resolve().name}: {reason}")
    return interpreter
