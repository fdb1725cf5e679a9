"""Find the ranges of a network's tensors for quantization, the same on every CPU.

TensorFlow's calibrator multiplies matrices with Eigen, which divides them according to the CPU's
cache sizes: that changes the rounding of sums, and thereby the scales of an integer file. TFLite's
reference kernels are plain loops in a fixed order.

That calibrator also reads the input of a residual addition after the result was written into the
same memory: for a SiLU it found values below its minimum of -0.278, and ranges up to twice as wide.
Here each tensor has its own memory.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

Samples = Callable[[], Iterable[list[Any]]]
"""A function that yields the network's inputs, sample by sample: float32 arrays in the order of the
inputs.
"""


def use_reference_kernels() -> None:
    """Make TensorFlow's converter calibrate with reference kernels. It does not apply to 16-bit
    activations, whose calibrator quantizes in the same call.
    """
    from tensorflow.lite.python.optimize import calibrator

    calibrator.Calibrator.calibrate = _calibrate


def _calibrate(self: Any, samples: Samples) -> bytes:
    """Return the network, a TFLite file, with the range of each tensor; replaces
    `Calibrator.calibrate`. One sample runs through TensorFlow's own calibrator, which determines
    the tensors that have a range.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    given = iter(samples())
    first = next(given)
    self._feed_tensors(lambda: [first], True)
    model = flatbuffer_utils.convert_bytearray_to_object(self._calibrator.Calibrate())
    (graph, *_) = model.subgraphs
    wanted = {
        index: tensor.quantization
        for index, tensor in enumerate(graph.tensors)
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    for index, (low, high) in find_ranges(
        self._model_content, chain([first], given), list(wanted)
    ).items():
        wanted[index].min, wanted[index].max = [low], [high]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def find_ranges(
    content: bytes, samples: Iterable[list[Any]], tensors: list[int]
) -> dict[int, tuple[float, float]]:
    """Return the smallest and largest value of tensors of a TFLite file, by index, over all
    samples.
    """
    import numpy as np
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    feeds = [detail["index"] for detail in interpreter.get_input_details()]
    ranges: dict[int, tuple[float, float]] = {}
    for sample in samples:
        for feed, value in zip(feeds, sample, strict=True):
            interpreter.set_tensor(feed, value)
        interpreter.invoke()
        for index in tensors:
            value = interpreter.get_tensor(index)
            if not value.size:
                continue
            low, high = float(np.min(value)), float(np.max(value))
            if not np.isfinite([low, high]).all():
                fail(f"on a calibration image, tensor {index} of the network is no number.")
            known = ranges.get(index, (low, high))
            ranges[index] = (min(low, known[0]), max(high, known[1]))
    return ranges
