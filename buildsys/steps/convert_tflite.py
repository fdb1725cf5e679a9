"""Convert a SavedModel to TFLite in one scheme: float32, float16, dynamic-range, int8 or int16x8.

One run makes one file. int8 means full integer, calibrated on the recipe's own images. A float32 file
must compute what the SavedModel computes; what another scheme changes is for the verdicts to judge.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import (
    BoardSpec,
    Format,
    ModelSpec,
    Preprocessing,
    Quantization,
    Resources,
    StepSpec,
)
from buildsys.steps.lib.runtime.progress import report
from buildsys.steps.lib.runtime.reference_ranges import THREADS

STEP = StepSpec(
    # One environment per converter, with the same name.
    tool_env=lambda params: params.tool,
    consumes=(Format.SAVED_MODEL,),
    produces=Format.TFLITE,
    needs=("samples", "calibration"),
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
    """Convert the model; ends the step if a float32 file computes something else."""
    from buildsys.steps.lib.runtime import tensorflow_setup

    tf = tensorflow_setup.prepare()
    converter = tf.lite.TFLiteConverter.from_saved_model(str(inputs["saved-model"]))
    _configure(tf, converter, inputs, params)
    content = converter.convert()
    outputs["tflite"].write_bytes(content)
    if params.quantization.scheme == "float32":
        _compare(tf, inputs["saved-model"], content, inputs.get("samples"), params.preprocessing)


def _configure(tf: Any, converter: Any, inputs: dict[str, Path], params: Params) -> None:
    from buildsys.steps.lib.runtime import tensorflow_calibration

    scheme = params.quantization.scheme
    if scheme == "float32":
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if params.quantization.granularity == "per-tensor":
        converter._experimental_disable_per_channel = True
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if scheme in ("int8", "int16x8"):
        tensorflow_calibration.use_reference_kernels()
        operators = {
            "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.target_spec.supported_ops = [operators[scheme]]
        converter.representative_dataset = _representative(inputs["calibration"], params)
        dtypes = {"int8": tf.int8, "int16": tf.int16, "float32": tf.float32}
        io = dtypes[params.quantization.io]
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


def _compare(
    tf: Any, saved_model: Path, content: bytes, samples: Path | None, frame: Preprocessing
) -> None:
    """Compare a float32 file with the SavedModel on sample images; they must be equal."""
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.parity import conversion
    from buildsys.steps.lib.runtime import tensorflow_setup

    network = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    images = prepared_images.to_nhwc(prepared_images.load(samples, frame))
    figures: dict[str, float] = {}
    for index in range(len(images)):
        image = images[index : index + 1]
        wanted = {name: value.numpy() for name, value in network(tf.constant(image)).items()}
        found = tensorflow_setup.run_tflite(content, image, reference_kernels=False)
        figures = conversion.require_close("TFLite conversion", wanted, found)
    print("SavedModel against float32 TFLite, largest difference:", figures)
