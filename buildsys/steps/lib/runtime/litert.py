"""Running and reading TFLite files with LiteRT, in the evaluation environment."""

import os
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files.tflite import demand_tflite


class Runner:
    """A TFLite file ready to run; one picture in, named real-valued outputs back."""

    def __init__(self, path: Path, reference_kernels: bool = False) -> None:
        """`reference_kernels`: TFLite's plain loops, bit-exact with TFLite Micro, and far slower."""
        self._run = open_interpreter(path, reference_kernels).get_signature_runner()
        ((self._input, self._detail),) = self._run.get_input_details().items()
        self._outputs = self._run.get_output_details()

    def __call__(self, picture: Any) -> dict[str, Any]:
        """Picture uint8 [h, w, 3] -> {name: float32 array}."""
        import numpy as np

        values = self._run(
            **{self._input: quantize(picture[None].astype(np.float32) / 255, self._detail)}
        )
        return {name: self._dequantize(name, value) for name, value in values.items()}

    def _dequantize(self, name: str, value: Any) -> Any:
        import numpy as np

        scale, zero = self._outputs[name]["quantization"]
        if value.dtype.kind == "f":
            return value.astype(np.float32)
        return (value.astype(np.float32) - zero) * np.float32(scale)


def kernels(reference: bool) -> str:
    """What computes, in the words of metrics.json and of latencies."""
    return "reference, as TFLite Micro's" if reference else "default (optimized, XNNPACK)"


def quantize(values: Any, detail: dict[str, Any]) -> Any:
    """Real numbers to the tensor's integers, rounded half to even; float tensors are converted."""
    import numpy as np

    scale, zero = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(dtype)


def open_interpreter(path: Path, reference_kernels: bool) -> Any:
    """An interpreter of the file; ends the step when it is no TFLite file."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    demand_tflite(path)
    kind = OpResolverType.BUILTIN_REF if reference_kernels else OpResolverType.AUTO
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return Interpreter(
        model_path=str(path), num_threads=threads, experimental_op_resolver_type=kind
    )
