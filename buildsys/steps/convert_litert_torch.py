"""Convert a traced program of torch to TFLite in float32 with litert-torch, without ONNX and TensorFlow.

Input `images` [1, height, width, 3] in 0..1; outputs under their canonical names and in canonical order,
as in the files of the other converters.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildsys.spec import BoardSpec, Intermediate, ModelSpec, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    import numpy as np

STEP = StepSpec(
    tool_env="litert-torch",
    consumes=(Intermediate.PROGRAM,),
    produces=Intermediate.FLOAT_TFLITE,
    needs=("samples",),
    block="convert",
    resources=Resources(memory_mib=2000),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The names that the file's outputs get, in their order, and how sample images are prepared."""

    output_names: tuple[str, ...]
    preprocessing: Preprocessing


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Take names and preprocessing; the program defines the rest."""
    assert model.preprocessing is not None
    names = tuple(tensor.name for tensor in model.outputs)
    return Params(output_names=names, preprocessing=model.preprocessing)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert the program, name inputs and outputs, compare with torch on sample images."""
    from buildsys.steps.lib.families import torch_program
    from buildsys.steps.lib.files import tflite_writing
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.networks import litert
    from buildsys.steps.lib.parity import conversion
    from buildsys.steps.lib.runtime import torch_setup

    torch_setup.limit_threads()
    network = torch_program.load(inputs["program"])
    pictures = prepared_images.load(inputs.get("samples"), params.preprocessing)
    images = prepared_images.to_nhwc(pictures)
    report(0, 2, "stages", "litert-torch")
    model = tflite_writing.parse(_convert(network, images[:1]))
    names = params.output_names
    tflite_writing.replace_slices(model)
    tflite_writing.rename(model, "images", names)
    outputs[Intermediate.FLOAT_TFLITE].write_bytes(tflite_writing.serialize(model))
    report(1, 2, "stages", "comparing with torch")
    converted = litert.Runner(outputs[Intermediate.FLOAT_TFLITE])
    for picture, image in zip(pictures, images, strict=True):
        wanted = dict(zip(names, torch_program.ask(network, image), strict=True))
        worst = conversion.require_close("litert-torch", wanted, converted(picture))
    print("largest difference, torch against TFLite:", worst)
    report(2, 2, "stages")


def _convert(network: Any, example: "np.ndarray") -> bytes:
    import litert_torch
    import torch

    litert_torch.config.show_progress = False
    try:
        with torch.no_grad():
            edge = litert_torch.convert(network, (torch.from_numpy(example),))
    except MemoryError:
        raise
    except Exception as error:  # lowerings, MLIR and LiteRT each raise types of their own
        reason = (str(error).strip().splitlines() or ["no reason given"])[0][:300].rstrip(". ")
        fail(
            f"litert-torch cannot convert this network: {type(error).__name__}: {reason}. Cure:"
            " convert: {tool: onnx2tf}."
        )
    return bytes(edge.model_content())
