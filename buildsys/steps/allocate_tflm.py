"""A TFLite file that TFLite Micro loads, allocates and runs once -> a verdict, with the arena it takes.

Of files that no recording is made of: given ones, and those of other schemes than int8. What TFLite
Micro lacks (hybrid kernels, float16 weights, an operator) is known before a board is flashed.
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
    """Nothing: the file says how large its inputs are, and any content will do."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """The verdict holds the arena's figures, as `record_tflm` gives them, where it could be run."""
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
    """One inference on noise of the inputs' own type."""
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
