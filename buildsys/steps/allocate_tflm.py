"""Load, allocate and run a TFLite file once in TFLite Micro, and report whether that works and the
arena size.

For files that are not recorded: given model files, and schemes other than int8. It shows before a
board is flashed what TFLite Micro does not support (hybrid kernels, float16 weights, an operator).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Resources, StepSpec
from buildsys.steps import record_tflm
from buildsys.steps.lib.runtime.progress import StepError

if TYPE_CHECKING:
    from buildsys.steps.lib.files.tflite import File

STEP = StepSpec(
    tool_env="tflite-micro",
    consumes=(Format.TFLITE,),
    produces=Format.VERDICT,
    resources=Resources(memory_mib=500),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """No parameters: the file states the size of its inputs, and the content does not matter."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the verdict; if the file ran, it holds the arena figures in the form of `record_tflm`."""
    from buildsys.steps.lib.files import tflite

    path = inputs["tflite"]
    file = tflite.read(path)
    custom = record_tflm.own_operators(file)
    verdict: dict[str, Any] = {"passed": True, "failures": []}
    if record_tflm.NPU_OPERATOR in custom:
        reason = "the file is compiled for an NPU, which alone can run its operator"
        verdict |= {"tested": False, "reason": reason}
    else:
        try:
            arena = record_tflm.measure_arena(path, custom, lambda each: _infer(each, file))
            verdict |= {"tested": True, **record_tflm.describe_arena(arena)}
        except StepError as error:
            verdict |= {"passed": False, "failures": [str(error)]}
    text = json.dumps(verdict, indent=1, sort_keys=True) + "\n"
    outputs["verdict"].write_text(text, encoding="utf-8")


def _infer(interpreter: Any, file: "File") -> None:
    """Run one inference on random input of the right type."""
    import numpy as np

    random = np.random.default_rng(0)
    for place, tensor in enumerate(file.inputs):
        dtype = np.dtype("bool" if tensor.dtype == "bool" else tensor.dtype)
        if dtype.kind == "f":
            values = random.random(tensor.shape)
        elif dtype.kind == "b":
            values = random.integers(0, 2, tensor.shape)
        else:
            limits = np.iinfo(dtype)
            low, high = max(limits.min, -128), min(limits.max, 127)
            values = random.integers(low, high, tensor.shape)
        interpreter.set_input(values.astype(dtype), place)
    interpreter.invoke()
