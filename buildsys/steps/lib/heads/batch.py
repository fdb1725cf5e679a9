"""How many pictures a network takes at once: as recipes write it, and as every step knows it."""

from buildsys.spec import Preprocessing

WORDS = ("min", "opt", "max")
"""Keys of `export.batch`; values in this order everywhere."""
LARGEST = 1024
AXIS = "batch"
"""What an ONNX file calls its first axis where that is open."""
Batch = tuple[int, int, int]
"""(min, opt, max): an engine takes from `min` to `max` pictures and is fastest for `opt`."""


def settle(written: int | dict[str, int]) -> Batch:
    """`batch: n` is a file that takes n pictures, always; a block says all three."""
    if isinstance(written, int):
        return written, written, written
    least, best, most = (written[word] for word in WORDS)
    return least, best, most


def is_open(batch: Batch) -> bool:
    """Whether the axis is open, so that one file takes several numbers of pictures."""
    least, _, most = batch
    return least != most


def memory_mib(batch: Batch, frame: Preprocessing, least: int, each: int) -> int:
    """What a step declares that runs a settled batch as a whole: `each` MiB for a picture of 640 x
    640, and `least` at least. Of an open axis a few pictures are run at a time.
    """
    pictures = 1 if is_open(batch) else batch[0]
    return max(least, least // 3 + each * pictures * frame.height * frame.width // 640**2)


def calibration_batch(batch: Batch, pictures: int) -> int:
    """Pictures at a time while int8 ranges of an open axis are looked for: twice what the engine is
    fastest for, as NVIDIA's guides ask, and no more than there are.
    """
    return min(2 * batch[1], pictures)
