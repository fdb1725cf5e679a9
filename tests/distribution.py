"""Distributes test files among processes: two run tools, which are busy all the time, and a third
runs tests that mostly wait for small processes.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

LONGEST_FIRST = (
    "test_examples",
    "test_tasks",
    "test_pipeline",
    "test_outside",
    "test_yolo26",
    "test_contracts",
    "test_brought",
    "test_litert_torch",
    "test_yolox",
    "test_yolox_pipeline",
    "test_batches",
    "test_converters",
    "test_architectures",
    "test_training",
    "test_fit",
    "test_compare",
    "test_flash",
    "test_linux_package",
    "test_precision",
    "test_convert",
)
"""Files of tests/tools that take longer than 20 s, ordered by duration."""
MOST_WITH_TOOLS = 2
"""Files whose tests run tools at a time, while there are others."""


class TwoWithTools(LoadFileScheduling):  # type: ignore[misc]
    """Each process gets the next file, but the third none that runs tools while there are others."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        busy = sum(self._runs_tools(other) for other in self.nodes if other is not node)
        if busy >= MOST_WITH_TOOLS:
            first = next((file for file in self.workqueue if not _with_tools(file)), None)
            if first is not None:
                self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def _runs_tools(self, node: WorkerController) -> bool:
        files = self.assigned_work[node]
        return any(_with_tools(file) and not all(done.values()) for file, done in files.items())


def _with_tools(file: str) -> bool:
    """Return whether a file's tests run tools. `file`: relative to the repository."""
    return file.startswith("tests/tools/")
