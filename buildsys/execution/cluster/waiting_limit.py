"""How long steps wait for a worker that meets their requirements."""

import threading
import time

from buildsys.execution.cluster import placement
from buildsys.execution.cluster.placement import Needs


class Patience:
    """Tracks since when no worker has met some requirements; all steps with them share the time
    limit.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[frozenset[tuple[str, int]], float] = {}
        self._lock = threading.Lock()

    def begin(self, needs: Needs) -> bool:
        """Record that no worker meets them now; returns whether that is new."""
        with self._lock:
            new = _key(needs) not in self._since
            self._since.setdefault(_key(needs), time.monotonic())
            return new

    def note_there(self, needs: Needs) -> None:
        """Record that a worker meets them."""
        with self._lock:
            self._since.pop(_key(needs), None)

    def is_over(self, needs: Needs) -> bool:
        """Return whether the time limit has passed."""
        with self._lock:
            since = self._since.get(_key(needs))
            return since is not None and time.monotonic() - since >= self.seconds


def _key(needs: Needs) -> frozenset[tuple[str, int]]:
    return frozenset(placement.hard(needs).items())
