"""The batch size of a network, as recipes state it and as steps use it."""

from buildsys.spec import Preprocessing

WORDS = ("min", "opt", "max")
"""Keys of `export.batch`; values have this order everywhere."""
LARGEST = 1024
AXIS = "batch"
"""The name of a dynamic first axis in an ONNX file."""
Batch = tuple[int, int, int]
"""(min, opt, max): an engine accepts from `min` to `max` images and is fastest for `opt`."""


def settle(written: int | dict[str, int]) -> Batch:
    """Return the batch: `batch: n` means a fixed batch of n images; a block states all three
    values.
    """
    if isinstance(written, int):
        return written, written, written
    least, best, most = (written[word] for word in WORDS)
    return least, best, most


def is_open(batch: Batch) -> bool:
    """Return whether the batch axis is dynamic, so that one file accepts several batch sizes."""
    least, _, most = batch
    return least != most


def memory_mib(batch: Batch, frame: Preprocessing, least: int, each: int) -> int:
    """Return the memory in MiB to declare for a step that runs a fixed batch as a whole: `each` per
    image of 640 x 640, and at least `least`. With a dynamic axis only a few images run at a time.
    """
    pictures = 1 if is_open(batch) else batch[0]
    return max(least, least // 3 + each * pictures * frame.height * frame.width // 640**2)


def calibration_batch(batch: Batch, pictures: int) -> int:
    """Return the batch size for int8 calibration with a dynamic axis: twice the `opt` value, as
    NVIDIA's guides recommend, and at most the number of images.
    """
    return min(2 * batch[1], pictures)
