"""Decides which steps may run at the same time, from the memory, threads and GPUs they declare, and
which of them is next.
"""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from buildsys.execution.tools.host_facts import has_driver
from buildsys.graph import Step
from buildsys.operating_system import usable_cores, usable_memory

_CARDS = "/proc/driver/nvidia/gpus"


class Admission:
    """A gate that lets steps pass when there is room for them, the most urgent first.

    There are up to half as many threads again as cores: no step uses all of its threads all the time,
    and threads that wait sleep (`process.step_environment`), so that steps slow in proportion, not
    tenfold. A step larger than the machine runs alone. A step that uses a GPU has it exclusively. A
    step that measures time runs alone; other runs and other programs on this machine are not taken
    into account. Steps pass a more urgent one that measures time or waits for a GPU which they do not
    use, but no other.
    """

    most: int | None = None
    """The largest number of steps at a time, if it is limited."""

    def __init__(
        self, cores: int | None = None, memory_mib: int | None = None, gpus: tuple[str, ...] = ()
    ) -> None:
        self._changed = threading.Condition()
        self._running: list[Step] = []
        self._waiting: dict[tuple[float, int], Step] = {}
        """By urgency, then in the order of arrival."""
        self._arrivals = itertools.count()
        self._cores = cores or usable_cores()
        self._memory_mib = memory_mib or memory_for_steps()
        self._gpus = gpus or visible_gpus()
        self._free = list(self._gpus)

    @contextmanager
    def admit(self, step: Step, urgency: float = 0.0) -> Iterator[str]:
        """Wait until the step fits beside the running ones and no more urgent one is next; yields
        the GPU reserved for it, or nothing.
        """
        place = -urgency, next(self._arrivals)
        with self._changed:
            self._waiting[place] = step
            try:
                self._changed.wait_for(lambda: self._next() == place)
            finally:
                del self._waiting[place]
                self._changed.notify_all()
            self._running.append(step)
            slot = self._free.pop(0) if step.gpu and self._free else ""
        try:
            yield slot
        finally:
            with self._changed:
                self._running.remove(step)
                self._free += [slot] if slot else []
                self._changed.notify_all()

    def _next(self) -> tuple[float, int] | None:
        for place, step in sorted(self._waiting.items(), key=lambda item: item[0]):
            if self._fits(step):
                return place
            # smaller steps would keep others from ever starting
            if not (step.alone or self._waits_for_gpu(step)):
                return None
        return None

    def _fits(self, step: Step) -> bool:
        if not self._running:
            return True
        if self.most is not None and len(self._running) >= self.most:
            return False
        everyone = [*self._running, step]
        if any(s.alone or s.threads > self._cores for s in everyone):
            return False
        return (
            sum(s.threads for s in everyone) <= self._cores * 3 // 2
            and sum(s.memory_mib for s in everyone) <= self._memory_mib
            and not self._waits_for_gpu(step)
        )

    def _waits_for_gpu(self, step: Step) -> bool:
        return step.gpu and bool(self._gpus) and not self._free


def gpu_variables(slot: str) -> dict[str, str]:
    """Return the environment variables that restrict a step to its GPU."""
    return {"CUDA_VISIBLE_DEVICES": slot} if slot else {}


def visible_gpus() -> tuple[str, ...]:
    """Return the NVIDIA GPUs that this process may use, in the notation of CUDA_VISIBLE_DEVICES."""
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is not None:
        return tuple(name.strip() for name in wanted.split(",") if name.strip() not in ("", "-1"))
    if not has_driver():
        return ()
    try:
        count = len(os.listdir(_CARDS))
    except OSError:  # a Jetson, or Windows' subsystem for Linux
        count = 1
    return tuple(map(str, range(count)))


def memory_for_steps() -> int:
    """Return the memory for steps in MiB: 85 % of the machine's; the rest is for other programs."""
    return int(usable_memory() / 2**20 * 0.85)
