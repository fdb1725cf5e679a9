"""TFLite -> TFLite whose outputs stand in the order, and have the form, that a firmware decodes.

Only the list of output indices is rewritten, in place: weights, names and alignment stay byte for
byte. Firmwares that want different orders so share one export and one quantization.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import BoardSpec, Format, ModelSpec, TensorSpec
from buildsys.steps._progress import fail

if TYPE_CHECKING:
    from buildsys.steps._tflite import Tensor

TOOL_ENV = "evaluate"
CONSUMES, PRODUCES = Format.TFLITE, Format.TFLITE

INPUT_SCALE, INPUT_ZERO_POINT = 1 / 255, -128
"""Firmwares compute `u8 - 128` and nothing else (Himax and SSCMA sources)."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Nothing to set: the firmware contract decides."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs in the firmware's order, with their shapes, and the dtype of input and outputs."""

    outputs: tuple[TensorSpec, ...]
    input_shape: tuple[int, ...]
    dtype: str
    firmware: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The contract's order, or the canonical one where the firmware takes any."""
    by_name = {tensor.name: tensor for tensor in model.outputs}
    order = board.output_order or tuple(by_name)
    frame = model.preprocessing
    assert frame is not None
    return Params(
        outputs=tuple(by_name[name] for name in order),
        input_shape=(1, frame.height, frame.width, 3),
        dtype=model.quantization.io,
        firmware=board.firmware,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Check every tensor at the edge against the contract, then reorder."""
    from buildsys.steps import _tflite

    data = bytearray(inputs["tflite"].read_bytes())
    model = _tflite.open_model(inputs["tflite"], data)
    file = _tflite.read(inputs["tflite"])
    _check(file.inputs, file.outputs, params)
    graph = model.Subgraphs(0)
    indices = graph.OutputsAsNumpy()  # a view into `data`
    place = {tensor.name: int(index) for tensor, index in zip(file.outputs, indices, strict=True)}
    indices[:] = [place[tensor.name] for tensor in params.outputs]
    outputs["tflite"].write_bytes(data)


def _check(inputs: "tuple[Tensor, ...]", found: "tuple[Tensor, ...]", params: Params) -> None:
    wanted = {tensor.name: tensor.shape for tensor in params.outputs}
    shapes = {tensor.name: tensor.shape for tensor in found}
    if wanted != shapes:
        fail(
            f"firmware {params.firmware} decodes outputs {wanted}; the file has {shapes}. Export"
            " with the head that the firmware wants, or use `firmware: unchecked`."
        )
    (image,) = inputs
    if image.shape != params.input_shape:
        fail(f"the input is {image.shape}; firmware {params.firmware} gets {params.input_shape}.")
    for tensor in (image, *found):
        if tensor.dtype != params.dtype:
            fail(f"{tensor.name} is {tensor.dtype}; the contract says {params.dtype}.")
        if params.dtype == "int8" and len(tensor.scales) != 1:
            fail(f"{tensor.name} has {len(tensor.scales)} scales; the firmware reads one.")
    if params.dtype == "int8":
        scale, zero = image.scales[0], image.zero_points[0]
        if abs(scale - INPUT_SCALE) > 1e-6 or zero != INPUT_ZERO_POINT:
            fail(
                f"the input's scale is {scale:.8f} and its zero point {zero}; the firmware computes"
                " u8 - 128, so they must be 1/255 and -128. Calibrate on pictures that span 0..255."
            )
