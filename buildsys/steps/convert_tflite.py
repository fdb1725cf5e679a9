"""Convert a SavedModel to TFLite in one scheme: float32, float16, dynamic-range, int8 or int16x8.

One run makes one file. int8 means full integer, calibrated on the recipe's own images. The float32
file is the one that the converter made; what another scheme changes is for the verdicts to judge.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import (
    BoardSpec,
    Format,
    Intermediate,
    ModelSpec,
    Preprocessing,
    Quantization,
    Resources,
    StepSpec,
)
from buildsys.steps.lib.files import float_tflite
from buildsys.steps.lib.runtime.progress import report
from buildsys.steps.lib.runtime.reference_ranges import THREADS

STEP = StepSpec(
    # One environment per converter, with the same name.
    tool_env=lambda params: params.tool,
    consumes=(Format.SAVED_MODEL,),
    produces=Format.TFLITE,
    needs=(Intermediate.FLOAT_TFLITE, "calibration"),
    stage="quantize",
    resources=lambda params: Resources(
        memory_mib=3000,
        threads=THREADS if params.quantization.scheme == "int8" else 1,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings: the `quantization` block belongs to the model."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """What determines the file besides the network and the calibration images."""

    quantization: Quantization
    preprocessing: Preprocessing
    tool: str = "onnx2tf"
    """The converter that made the SavedModel; the TensorFlow of its environment is used here, too.
    """


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the quantization of this build."""
    assert model.preprocessing is not None
    return Params(
        quantization=model.quantization,
        preprocessing=model.preprocessing,
        tool=model.converter,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert the model; float32 copies the converter's file."""
    float_tflite.demand(inputs[Intermediate.FLOAT_TFLITE])
    if params.quantization.scheme == "float32":
        outputs["tflite"].write_bytes(inputs[Intermediate.FLOAT_TFLITE].read_bytes())
        return
    from buildsys.steps.lib.runtime import tensorflow_setup

    lite = tensorflow_setup.prepare_lite()
    converter = lite.TFLiteConverterV2.from_saved_model(str(inputs["saved-model"]))
    _configure(lite, converter, inputs, params)
    outputs["tflite"].write_bytes(converter.convert())


def _configure(lite: Any, converter: Any, inputs: dict[str, Path], params: Params) -> None:
    from tensorflow.python.framework import dtypes

    from buildsys.steps.lib.runtime import tensorflow_calibration

    scheme = params.quantization.scheme
    converter.optimizations = [lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [dtypes.float16]
    if params.quantization.granularity == "per-tensor":
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme in ("int8", "int16x8"):
        tensorflow_calibration.use_reference_kernels()
        operators = {
            "int8": lite.OpsSet.TFLITE_BUILTINS_INT8,
            "int16x8": lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.target_spec.supported_ops = [operators[scheme]]
        converter.representative_dataset = _representative(inputs["calibration"], params)
        io = dtypes.as_dtype(params.quantization.io)
        converter.inference_input_type = converter.inference_output_type = io


def _representative(folder: Path, params: Params) -> Any:
    from buildsys.steps.lib.images import prepared_images

    pictures = prepared_images.span_range(prepared_images.load(folder, params.preprocessing))
    passes = itertools.count(1)

    def generate() -> Any:
        # some schemes need two passes
        note = "" if (number := next(passes)) == 1 else f"pass {number}"
        for index in range(len(pictures)):
            report(index + 1, len(pictures), "calibration images", note)
            yield [prepared_images.to_nhwc(pictures[index : index + 1])]

    return generate
