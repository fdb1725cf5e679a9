"""Ranges of a network's tensors for quantization, the same on every CPU.

TensorFlow's calibrator multiplies matrices by Eigen, which cuts them by the sizes of the CPU's caches: sums
round by how they are cut, and so do the scales of an integer file. TFLite's reference kernels are plain
loops in one order.

That calibrator also reads what a residual addition adds to after the addition was written into the same
memory: of a SiLU it found values below -0.278, its minimum, and ranges up to twice as wide. Here each
tensor keeps memory of its own.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

Samples = Callable[[], Iterable[list[Any]]]
"""Gives the inputs of the network, sample by sample: arrays float32, in the order of its inputs."""


def use_reference_kernels() -> None:
    """From now on, TensorFlow's converter calibrates by them.

    Not for activations of 16 bits, whose calibrator quantizes in the same call.
    """
    from tensorflow.lite.python.optimize import calibrator

    calibrator.Calibrator.calibrate = _calibrate


def _calibrate(self: Any, samples: Samples) -> bytes:
    """The network, a TFLite file, with the range of each tensor: in place of `Calibrator.calibrate`.

    One sample goes through TensorFlow's own, which says which tensors have a range.
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
    """Smallest and largest value of tensors of a TFLite file, by index, over all samples."""
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
