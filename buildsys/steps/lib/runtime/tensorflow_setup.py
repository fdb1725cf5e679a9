"""Set up TensorFlow: one thread, legacy Keras for onnx2tf, little output, no downloads."""

import os
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def prepare() -> ModuleType:
    """Set up this process and return the tensorflow module."""
    _set_environment()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    module: ModuleType = tf
    return module


def prepare_lite() -> ModuleType:
    """Set up this process for TFLite's converter, and return its module, without the rest of
    TensorFlow.
    """
    from buildsys.steps.lib.runtime import tensorflow_light

    _set_environment()
    lite = tensorflow_light.import_lite()
    from tensorflow.python.framework import config

    config.set_intra_op_parallelism_threads(1)
    config.set_inter_op_parallelism_threads(1)
    return lite


def _set_environment() -> None:
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", CUDA_VISIBLE_DEVICES="")
    # TensorFlow 2.15 contains Keras 2 and would not find it with this variable
    if find_spec("tf_keras") is not None:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"


def write_placeholder_pictures() -> None:
    """Write the array that onnx2tf would otherwise download into its working directory; it is never
    used.
    """
    import numpy as np

    name = "calibration_image_sample_data_20x128x128x3_float32.npy"
    np.save(Path(name), np.zeros((20, 128, 128, 3), np.float32))


def run_tflite(model: bytes | str, picture: Any, reference_kernels: bool) -> dict[str, Any]:
    """Return dequantized float32 outputs by signature name, for one image float32 [1, h, w, 3] in
    0..1.
    """
    import tensorflow as tf

    kinds = tf.lite.experimental.OpResolverType
    kind = kinds.BUILTIN_REF if reference_kernels else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": model}
    interpreter = tf.lite.Interpreter(**source, experimental_op_resolver_type=kind)
    runner = interpreter.get_signature_runner()
    (name, detail), *_ = runner.get_input_details().items()
    results = runner(**{name: quantize(picture, detail)})
    details = runner.get_output_details()
    return {key: dequantize(value, details[key]) for key, value in results.items()}


def quantize(values: Any, detail: dict[str, Any]) -> Any:
    """Quantize real numbers to the tensor's integers, rounding half to even; float tensors are
    unchanged.
    """
    import numpy as np

    scale, zero = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if scale == 0 or dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values / scale) + zero, limits.min, limits.max).astype(dtype)


def dequantize(values: Any, detail: dict[str, Any]) -> Any:
    """Convert the tensor's integers to real numbers, float32; float tensors are unchanged."""
    import numpy as np

    scale, zero = detail["quantization"]
    if scale == 0 or values.dtype.kind == "f":
        return values.astype(np.float32)
    return (values.astype(np.float32) - zero) * np.float32(scale)
