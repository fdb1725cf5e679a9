"""Find the ranges of a network's tensors for quantization, the same on every CPU.

TFLite's reference kernels are plain loops in a fixed order. Faster kernels divide matrices according
to the CPU, which changes the rounding of sums, and thereby the scales of an integer file.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

THREADS = 2
"""Images at once, if the step is granted as many threads; an interpreter releases Python's lock while it
runs.
"""


def find_ranges(
    open_interpreter: Callable[[], Any], samples: Iterable[list[Any]], tensors: Mapping[int, str]
) -> dict[int, tuple[float, float]]:
    """Return the smallest and largest value of tensors of a TFLite file, by index, over all
    samples.

    `open_interpreter` returns a new interpreter of the file, with reference kernels, one thread and
    memory of its own for each tensor. `samples`: the network's inputs, float32 arrays in the order
    of the inputs; `tensors`: names by index. Tensors without values are left out.
    """
    ranges: dict[int, tuple[float, float]] = {}
    for found in _each(open_interpreter, iter(samples), list(tensors)):
        for index, (low, high) in found.items():
            if not float("-inf") < low <= high < float("inf"):
                fail(f"on a calibration image, tensor {tensors[index]} is not a number.")
            known = ranges.get(index, (low, high))
            ranges[index] = (min(low, known[0]), max(high, known[1]))
    return ranges


def _each(
    open_interpreter: Callable[[], Any], samples: Iterator[list[Any]], tensors: list[int]
) -> Iterator[dict[int, tuple[float, float]]]:
    """Yield the ranges of each sample, in order."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    interpreters = [open_interpreter() for _ in range(threads)]

    def run(interpreter: Any, sample: list[Any]) -> dict[int, tuple[float, float]]:
        for detail, value in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        ranges = {}
        for index in tensors:  # each value is a copy
            value = interpreter.get_tensor(index)
            if value.size:
                ranges[index] = float(value.min()), float(value.max())
        return ranges

    for interpreter in interpreters:
        interpreter.allocate_tensors()
    with ThreadPoolExecutor(threads) as pool:
        while together := list(islice(samples, threads)):
            yield from pool.map(run, interpreters, together)
