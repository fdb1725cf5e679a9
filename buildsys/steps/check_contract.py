"""Decide whether a firmware can decode the outputs of a TFLite file, by the firmware's contract.

It runs before the compiler: a file that the device would load but not decode is rejected here, with
both layouts. A different order is accepted, because bind_outputs corrects it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import ContractSpec, Format, StepSpec
from buildsys.steps.lib.firmware.contract_layout import Found, Layout, actual, expected, match

if TYPE_CHECKING:
    from buildsys.steps.lib.files.tflite import File, Tensor

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.VERDICT,
)
_SCALE_TOLERANCE = 1e-6
_CURES = {
    "int8": "write `quantization: {scheme: int8, io: int8}`",
    "float32": "write `quantization: {io: float32}`",
}


@dataclass(frozen=True, kw_only=True)
class Params:
    """What the firmware decodes, and what is known about the network: 0 means unknown.

    `height`, `width`: the recipe's input size; 0 means the file's own.
    """

    contract: ContractSpec
    height: int
    width: int
    classes: int
    keypoints: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Compare the file's inputs and outputs with the contract: count, shapes, dtype, quantization."""
    from buildsys.steps.lib.files import tflite

    verdict = judge(tflite.read(inputs["tflite"]), params)
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def judge(file: "File", params: Params) -> dict[str, object]:
    """Return the verdict and the layout that was matched."""
    failures = _check_input(file, params)
    layout = find_layout(file, params)
    if not params.contract.outputs:
        layout = None  # without a contract the firmware's author adapts to any layout
    elif layout is None:
        failures += [_explain(file, params)]
    else:
        failures += [text for tensor in file.outputs for text in _check_output(tensor, params)]
    return {
        "passed": not failures,
        "failures": failures,
        "contract": params.contract.name,
        "outputs": list(layout.names) if layout else [],
        "classes": layout.classes if layout else 0,
        "keypoints": layout.keypoints if layout else 0,
    }


def find_layout(file: "File", params: Params) -> Layout | None:
    """Return which output of the file is which of the contract's; None if they do not match."""
    found = tuple(Found(name=tensor.name, shape=tensor.shape) for tensor in file.outputs)
    height, width = _frame(file, params)
    return match(params.contract, found, height, width, params.classes, params.keypoints)


def _frame(file: "File", params: Params) -> tuple[int, int]:
    shape = file.inputs[0].shape if file.inputs else ()
    own = (shape[1], shape[2]) if len(shape) == 4 else (0, 0)
    return params.height or own[0], params.width or own[1]


def _check_input(file: "File", params: Params) -> list[str]:
    contract, (height, width) = params.contract, _frame(file, params)
    if len(file.inputs) != 1:
        return [f"the file has {len(file.inputs)} inputs; firmware {contract.name} fills one"]
    (image,) = file.inputs
    failures = []
    if image.shape != (1, height, width, 3):
        failures.append(
            f"the input is {list(image.shape)}; firmware {contract.name} fills"
            f" {[1, height, width, 3]} (batch, height, width, colours)"
        )
    if contract.square and height != width:
        failures.append(
            f"the input is {height} x {width}; firmware {contract.name} takes square images"
        )
    failures += _check_dtype(image, "input", contract.input_dtype, contract)
    if contract.input_scale and image.dtype == contract.input_dtype and image.scales:
        failures += _check_scale(image, contract)
    return failures


def _check_scale(image: "Tensor", contract: ContractSpec) -> list[str]:
    scale, zero = image.scales[0], image.zero_points[0]
    wanted, shift = contract.input_scale, contract.input_zero_point
    if abs(scale - wanted) <= _SCALE_TOLERANCE and zero == shift:
        return []
    usual = shift == -128
    cure = (
        "calibrate on images that span 0 to 255"
        if usual
        else "images in 0..1 are quantized to -128..127 here; check the contract's scale and zero point"
    )
    return [
        f"the input's scale is {scale:.8f} and its zero point {zero}; firmware {contract.name}"
        f" computes u8 {shift:+d}, so they must be {wanted:.8f} and {shift}: {cure}"
    ]


def _check_output(tensor: "Tensor", params: Params) -> list[str]:
    return _check_dtype(tensor, "output", params.contract.dtype, params.contract)


def _check_dtype(tensor: "Tensor", kind: str, dtype: str, contract: ContractSpec) -> list[str]:
    if tensor.dtype != dtype:
        cure = _CURES.get(dtype, "no converter here makes it; does the contract say it rightly?")
        return [
            f"{kind} {tensor.name} is {tensor.dtype}; firmware {contract.name} takes {dtype}: {cure}"
        ]
    if dtype == "int8" and len(tensor.scales) != 1:
        return [
            f"{kind} {tensor.name} has {len(tensor.scales)} scales; firmware {contract.name} reads"
            " one: quantize it per tensor"
        ]
    return []


def _explain(file: "File", params: Params) -> str:
    contract, (height, width) = params.contract, _frame(file, params)
    found = [Found(name=tensor.name, shape=tensor.shape) for tensor in file.outputs]
    wanted = expected(contract, height, width, params.classes, params.keypoints)
    return (
        f"firmware {contract.name} ({contract.label}) decodes other outputs than the file has:"
        f" expected {wanted}; actual {actual(found, [t.dtype for t in file.outputs])}."
        f" To change: {contract.cure}"
    )
