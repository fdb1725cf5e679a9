"""How long a run has spent on each of its steps so far."""

import time


class StepTimes:
    """The seconds that a run spends on its steps: those of ended attempts, and of a running one."""

    def __init__(self) -> None:
        self._times: dict[str, tuple[float, float | None]] = {}
        """By step id: seconds of ended attempts, and the start of the running one on the monotonic
        clock. One value, because the summary after a signal may read it at any moment.
        """

    def start(self, step: str) -> None:
        """Record that an attempt runs, if none does: it may move from a worker to this machine."""
        ended, since = self._times.get(step, (0.0, None))
        self._times[step] = (ended, time.monotonic() if since is None else since)

    def end(self, step: str, seconds: float | None) -> None:
        """Record that an attempt has ended. `seconds`: its time according to its result; None
        without one.
        """
        ended, _ = self._times.get(step, (0.0, None))
        self._times[step] = (self.spent(step) if seconds is None else ended + seconds, None)

    def spent(self, step: str) -> float:
        """Return the seconds spent on a step, also while it runs."""
        ended, since = self._times.get(step, (0.0, None))
        return ended + (time.monotonic() - since if since is not None else 0.0)
