"""Makes TensorFlow's converter calibrate with reference kernels.

Its own calibrator multiplies matrices with Eigen, which divides them according to the CPU's cache
sizes. It also reads the input of a residual addition after the result was written into the same
memory: for a SiLU it found values below its minimum of -0.278, and ranges up to twice as wide. Here
each tensor has its own memory.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from buildsys.steps.lib.runtime import reference_ranges

Samples = Callable[[], Iterable[list[Any]]]
"""A function that yields the network's inputs, sample by sample: float32 arrays in the order of the
inputs.
"""


def use_reference_kernels() -> None:
    """Replace TensorFlow's calibrator. It does not apply to 16-bit activations, whose calibrator
    quantizes in the same call.
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
        index: tensor
        for index, tensor in enumerate(graph.tensors)
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    names = {index: tensor.name.decode() for index, tensor in wanted.items()}
    ranges = reference_ranges.find_ranges(
        lambda: _interpreter(self._model_content), chain([first], given), names
    )
    for index, (low, high) in ranges.items():
        quantization = wanted[index].quantization
        quantization.min, quantization.max = [low], [high]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _interpreter(content: bytes) -> Any:
    from tensorflow.lite.python import interpreter

    return interpreter.Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
