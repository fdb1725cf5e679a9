"""Report a training that runs out of memory as a sentence that names its batch."""

import contextlib
from collections.abc import Iterator

from buildsys.steps.lib.runtime.progress import fail

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR",
    "unable to find an engine",
)
"""Parts of torch's messages when memory runs out on a GPU or a CPU; the last three are those of
libraries, as in ultralytics/engine/trainer.py.
"""


@contextlib.contextmanager
def report_lack(batch: int, size: int, device: str) -> Iterator[None]:
    """End the step with a message if memory runs out inside; `device`: cpu | cuda."""
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        owner = "GPU" if device == "cuda" else "machine"
        words = f"a batch of {batch} at {size} px"
        fail(f"the {owner}'s memory does not hold {words}; write a smaller train.batch.")
