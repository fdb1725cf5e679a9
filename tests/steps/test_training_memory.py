"""What a training reports when memory runs out."""

import pytest

from buildsys.steps.lib.runtime.progress import StepError
from buildsys.steps.lib.training.training_memory import report_lack


@pytest.mark.parametrize(
    ("device", "error", "owner"),
    [
        ("cuda", "CUDA out of memory. Tried to allocate 2.00 GiB.", "GPU"),
        ("cuda", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)", "GPU"),
        ("cpu", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9", "machine"),
    ],
)
def test_memory_that_runs_out_is_a_sentence(device: str, error: str, owner: str) -> None:
    """The message names the batch, on a GPU and on a CPU."""
    with pytest.raises(StepError) as raised, report_lack(16, 640, device):
        raise RuntimeError(error)
    expected = "memory does not hold a batch of 16 at 640 px; write a smaller train.batch."
    assert str(raised.value) == f"the {owner}'s {expected}"


def test_other_errors_stay_what_they_are() -> None:
    """An error in torch that has another cause is not explained by memory."""
    with pytest.raises(RuntimeError, match="shapes"), report_lack(16, 640, "cpu"):
        raise RuntimeError("shapes cannot be multiplied")
