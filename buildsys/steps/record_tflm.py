"""Record a TFLite file's outputs for prepared images in TFLite Micro, and the arena that it needs
there.

It is the interpreter of microcontrollers, compiled for this machine with its reference kernels:
operator by operator it computes what a device without NPU computes.
"""

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import Format, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.files.tflite_schema import BUILTIN_OPERATORS
from buildsys.steps.lib.networks import litert
from buildsys.steps.lib.parity import recording_files
from buildsys.steps.lib.runtime import tensorflow_setup
from buildsys.steps.lib.runtime.native_stderr import captured_stderr, read_text
from buildsys.steps.lib.runtime.progress import fail

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np

    from buildsys.steps.lib.files.tflite import File

STEP = StepSpec(
    tool_env="tflite-micro",
    consumes=(Format.TFLITE,),
    produces=Format.RECORDING,
    also_produces=("arena",),
    resources=Resources(memory_mib=500),
)

NPU_OPERATOR = "ethos-u"
_MOST_ARENA_BYTES = 1 << 30
"""Size of the first arena, until its real size is known; only address space, because unused memory
is never touched.
"""
_ARENA_STEP = 16
"""Alignment of an arena in TFLite Micro, in bytes."""
_NOTE = (
    "Measured on a 64-bit host with TFLite Micro's plain kernels. Its own structures, a part of"
    " tail_bytes, hold pointers and are smaller on a 32-bit device. The tensors, head_bytes, are as"
    " large there; kernels made for a device (CMSIS-NN, ESP-NN) may want scratch memory besides."
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs' canonical names (in file order, for a file without names), and the number of
    images.
    """

    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Record. `outputs`: `recording`, outputs in file order, integers unchanged; `arena`, figures
    in bytes.

    Every image runs in an arena of exactly the recorded size, which proves that it suffices.
    """
    from buildsys.steps.lib.files import tflite

    path = inputs["tflite"]
    file = tflite.read(path)
    custom = own_operators(file)
    if NPU_OPERATOR in custom:
        fail(
            f"{path.resolve().name} is compiled for an NPU, which alone can run its operator"
            f" {NPU_OPERATOR}; TFLite Micro on this machine runs the file from before the compiler."
        )
    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    litert.demand_picture(path, file.inputs[0].shape, pictures[0])
    arena = measure_arena(path, custom, lambda each: list(_answer(each, pictures[0], [])))
    text = json.dumps(describe_arena(arena), indent=1, sort_keys=True) + "\n"
    outputs["arena"].write_text(text, encoding="utf-8")
    interpreter = _open(path, custom, arena["arena_bytes"])
    names = recording_files.name_outputs([each.name for each in file.outputs], params.names, path)
    recording_files.record(
        lambda picture: _answer(interpreter, picture, names), pictures, outputs["recording"]
    )


def read_allocations(text: str) -> dict[str, int]:
    """Return the sizes in bytes that TFLite Micro's recording allocator prints; {} without them.

    `arena_bytes` is the smallest arena that works: `head_bytes` (tensors, placed by the memory
    planner) plus `tail_bytes` (structures, and the kernels' persistent data), both aligned.
    """
    found = dict(re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", text))
    keys = {"arena_bytes": "total", "head_bytes": "head", "tail_bytes": "tail"}
    return {key: int(found[name]) for key, name in keys.items() if name in found}


def explain(text: str, custom: tuple[str, ...]) -> str:
    """Return why TFLite Micro rejected a model, from its output; `custom`: the file's custom
    operators.
    """
    missing = re.search(r"Failed to get registration from op code (\w+)", text)
    if missing:
        name = " or ".join(custom) if missing[1] == "CUSTOM" and custom else missing[1]
        return f"it has no operator {name}"
    if re.search(r"missing: \d+", text):
        return f"the model takes more than {_MOST_ARENA_BYTES >> 20} MiB of tensor arena"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3]) or "it printed no reason"


def own_operators(file: "File") -> tuple[str, ...]:
    """Return the custom operators of a file."""
    return tuple(name for name, _ in file.operators if name not in BUILTIN_OPERATORS)


def measure_arena(
    path: Path, custom: tuple[str, ...], infer: Callable[[Any], object]
) -> dict[str, int]:
    """Measure how much of a very large arena is used after one inference. `infer` runs an
    interpreter once. Ends the step if TFLite Micro cannot run the file.
    """
    if _aborts(lambda: infer(_open(path, custom, _MOST_ARENA_BYTES))):
        fail(
            f"TFLite Micro aborts on {path.resolve().name}, and a device would, too: a kernel finds"
            " scales that it cannot compute with, as those of a tensor that hardly moves. A network"
            " that was never trained does that; so does calibration on images that show nothing."
        )
    interpreter = _open(path, custom, _MOST_ARENA_BYTES)
    with captured_stderr() as errors:
        failed = _fails(lambda: infer(interpreter))
        interpreter.print_allocations()
    text = _logged(errors)
    arena = read_allocations(text)
    if failed or "arena_bytes" not in arena:
        reason = explain(text, custom)
        fail(f"TFLite Micro loads {path.resolve().name} and cannot run it: {reason}.")
    return {**arena, "arena_bytes": _smallest_that_loads(path, arena["arena_bytes"])}


def _smallest_that_loads(path: Path, used: int) -> int:
    """Return the arena in bytes: what inference uses, or more if the memory planner, which works in
    the memory that tensors leave free, has no room for its list of a small network's many tensors.
    """
    too_small, enough = used - _ARENA_STEP, used
    while _load(path, enough)[0] is None and enough < _MOST_ARENA_BYTES:
        too_small, enough = enough, 2 * enough
    while enough - too_small > _ARENA_STEP:
        middle = too_small + (enough - too_small) // 2 // _ARENA_STEP * _ARENA_STEP
        if _load(path, middle)[0] is None:
            too_small = middle
        else:
            enough = middle
    return enough


def _aborts(act: Callable[[], object]) -> bool:
    """Return whether native code aborts the process; tried in a forked copy, so that this process
    can report it.
    """
    import os

    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)  # the parent raises the same exception again and can report it
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _fails(act: Callable[[], object]) -> bool:
    """Return whether TFLite Micro fails: it raises RuntimeError without a reason, and prints the
    reason.
    """
    try:
        act()
    except RuntimeError:
        return True
    return False


def describe_arena(arena: dict[str, int]) -> dict[str, Any]:
    """Return the figures of `measure_arena` with their source."""
    import importlib.metadata

    runtime = f"tflite-micro {importlib.metadata.version('tflite-micro')}"
    return {**arena, "runtime": runtime, "note": _NOTE}


def _load(path: Path, arena_bytes: int) -> tuple[Any, str]:
    """Return an interpreter, None if TFLite Micro rejects the file, and its output."""
    from tflite_micro import runtime

    interpreter = None
    with captured_stderr() as errors, contextlib.suppress(RuntimeError):
        interpreter = runtime.Interpreter.from_file(str(path), arena_size=arena_bytes)
    return interpreter, read_text(errors)


def _open(path: Path, custom: tuple[str, ...], arena_bytes: int) -> Any:
    interpreter, text = _load(path, arena_bytes)
    print(text, end="")
    if interpreter is None:
        fail(
            f"TFLite Micro does not load {path.resolve().name}: {explain(text, custom)}. A"
            " device with TFLite Micro would not, either."
        )
    return interpreter


def _answer(
    interpreter: Any, picture: "np.ndarray", names: list[str]
) -> Iterator[recording_files.Output]:
    """Run an image uint8 [h, w, 3]; yields outputs named `names`, in file order, with the batch
    axis.
    """
    import numpy as np

    image = _detail(interpreter.get_input_details(0))
    values = tensorflow_setup.quantize(picture[None].astype(np.float32) / 255, image)
    interpreter.set_input(values, 0)
    interpreter.invoke()
    for index, name in enumerate(names):
        scale, zero = _detail(interpreter.get_output_details(index))["quantization"]
        values = np.array(interpreter.get_output(index))
        integers = values.dtype.kind != "f" and scale != 0
        yield recording_files.Output(
            name=name,
            values=values,
            scale=scale if integers else None,
            zero_point=zero if integers else None,
        )


def _detail(tensor: dict[str, Any]) -> dict[str, Any]:
    """Return a tensor's dtype and (scale, zero point) in LiteRT's form; (0, 0) if it has none or
    several.
    """
    quantized = tensor["quantization_parameters"]
    scales, zeros = quantized["scales"], quantized["zero_points"]
    one = len(scales) == 1 and len(zeros) == 1
    quantization = (float(scales[0]), int(zeros[0])) if one else (0.0, 0)
    return {"dtype": tensor["dtype"], "quantization": quantization}


def _logged(errors: "BinaryIO") -> str:
    """Return what native code wrote, and also print it into the step's log."""
    text = read_text(errors)
    print(text, end="")
    return text
