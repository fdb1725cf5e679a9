"""Who may run now, by the memory, threads and GPUs that steps declare."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildsys.graph import Step
from buildsys.operating_system import usable_cores, usable_memory

_DRIVER = Path("/proc/driver/nvidia/gpus")


class Admission:
    """A gate that steps pass when there is room for them.

    A step larger than the machine runs alone. Torch and TensorFlow: one process per two cores,
    because their threads starve each other. A step that takes a GPU has it to itself. A step that
    measures time waits until nothing runs, and nothing starts beside it: what other runs and other
    programs do on this machine is not known here.
    """

    def __init__(
        self, cores: int | None = None, memory_mib: int | None = None, gpus: tuple[str, ...] = ()
    ) -> None:
        self._changed = threading.Condition()
        self._running: list[Step] = []
        self._cores = cores or usable_cores()
        self._memory_mib = memory_mib or memory_for_steps()
        self._gpus = gpus or visible_gpus()
        self._free = list(self._gpus)

    @contextmanager
    def admit(self, step: Step) -> Iterator[str]:
        """Wait until the step fits beside what runs; gives the GPU that is its own, or nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(step))
            self._running.append(step)
            slot = self._free.pop(0) if step.gpu and self._free else ""
        try:
            yield slot
        finally:
            with self._changed:
                self._running.remove(step)
                self._free += [slot] if slot else []
                self._changed.notify_all()

    def _fits(self, step: Step) -> bool:
        if not self._running:
            return True
        everyone = [*self._running, step]
        if any(s.alone for s in everyone):
            return False
        return (
            sum(s.threads for s in everyone) <= self._cores
            and sum(s.memory_mib for s in everyone) <= self._memory_mib
            and sum(s.framework for s in everyone) <= max(1, self._cores // 2)
            and (not step.gpu or not self._gpus or bool(self._free))
        )


def gpu_variables(slot: str) -> dict[str, str]:
    """What a step has to know to see its own GPU alone."""
    return {"CUDA_VISIBLE_DEVICES": slot} if slot else {}


def visible_gpus() -> tuple[str, ...]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is not None:
        return tuple(name.strip() for name in wanted.split(",") if name.strip() not in ("", "-1"))
    try:
        return tuple(str(index) for index, _ in enumerate(sorted(_DRIVER.iterdir())))
    except OSError:
        return ()


def memory_for_steps() -> int:
    """MiB: 85 % of what there is; the rest is for everybody else."""
    return int(usable_memory() / 2**20 * 0.85)
