"""Counts the failures of requests to a remote store, so that a run stops using a bad server."""

import time
from typing import Literal

Kind = Literal["small", "file"]
"""A request that is answered at once, or the transfer of a whole file."""


class Direction:
    """Reading or writing: its failures, and whether it continues.

    Failures count until a success. Those of files also count until a file is complete, and those of
    small requests until one is answered: a server may answer these and stall in the middle of files.
    """

    def __init__(self) -> None:
        self._in_row = 0
        self._of_kind: dict[Kind, int] = {"small": 0, "file": 0}
        self.has_failed = False
        """Whether any request has failed."""
        self.on = True
        self._failed_at = 0.0

    @property
    def failures(self) -> int:
        """Return the failures in a row, at all or of one kind."""
        return max(self._in_row, *self._of_kind.values())

    def count(self, kind: Kind, began: float) -> bool:
        """Record the failure of a request that started at a time; returns whether it counts.

        When a server is restarted, all its current requests fail; they count as one failure.
        """
        if began < self._failed_at:
            return False
        self.has_failed = True
        self._in_row += 1
        self._of_kind[kind] += 1
        self._failed_at = time.monotonic()
        return True

    def note_success(self, kind: Kind, began: float) -> None:
        """Record the success of a request that started at a time.

        One that started before the last failure does not show that the server answers again.
        """
        if began >= self._failed_at:
            self._in_row = self._of_kind[kind] = 0
