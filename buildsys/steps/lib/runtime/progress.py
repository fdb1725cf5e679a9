"""Report a step's progress to its parent: one JSON line per report on an inherited pipe."""

import json
import os
import sys
import time
from typing import NoReturn

_INTERVAL_SECONDS = 0.2
_last_report = 0.0


def report(done: float, total: float, unit: str, note: str = "") -> None:
    """Report that ``done`` of ``total`` units are finished; does nothing outside a build.

    Reports closer together than 0.2 s are dropped, except the last one (``done == total``).
    """
    global _last_report
    descriptor = os.environ.get("BUILDSYS_PROGRESS_FD")
    now = time.monotonic()
    if descriptor is None or (done < total and now - _last_report < _INTERVAL_SECONDS):
        return
    _last_report = now
    line = json.dumps({"done": done, "total": total, "unit": unit, "note": note})
    try:
        os.write(int(descriptor), line.encode() + b"\n")
    except OSError:
        os.environ.pop("BUILDSYS_PROGRESS_FD")  # the parent has ended, which the launcher handles


def remember(**facts: str) -> None:
    """Record facts about this run, which are part of no key and of no manifest's identity."""
    place = os.environ.get("BUILDSYS_DIARY")
    if place is not None:
        with open(place, "w", encoding="utf-8") as stream:
            json.dump(facts, stream)


class StepError(Exception):
    """The message of a step about a problem with its input: what happened, why, what to do."""


def fail(message: str) -> NoReturn:
    """End the step with a message, which the launcher prints without a traceback."""
    sys.stdout.flush()
    raise StepError(message)
