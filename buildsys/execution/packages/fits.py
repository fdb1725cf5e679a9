"""The largest input size known to fit, kept in .buildsys/fit.json, and advice from it.

The record's key covers what decides the needed and available memory (network, head, quantization,
compiler, firmware), not weights, images or names: equal builds share it.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from buildsys.execution.places import Workspace
from buildsys.files import write_atomic
from buildsys.graph import BuildPlan
from buildsys.records import find_record, write_record
from buildsys.steps.lib.firmware.memory_estimate import estimate_size


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of `buildsys fit` for a build: the larger side in pixels; None if nothing is known
    to fit.

    `proven`: a larger size was tried and does not fit. `tried`: every size with its need and
    verdict, for people.
    """

    build: str
    side: int | None
    proven: bool
    tried: object


@dataclass(frozen=True, kw_only=True)
class _File:
    format: Literal[1]
    fits: dict[str, Fit]


def known_fit(workspace: Workspace, key: str) -> int | None:
    """Return the larger side, in pixels, of the largest input known to fit.

    None where `buildsys fit` has not run, or nothing fits. `key`: see fit_key.
    """
    found = _read(workspace).get(key)
    return found.side if found is not None else None


def advise(workspace: Workspace, plan: BuildPlan, side: int, need: float, has: float) -> str:
    """Return advice for a build that needs too much memory, as part of a sentence.

    It names the size that is known to fit, otherwise an estimate; empty where no size can be named.
    `side` of the build in pixels, 0 if unknown; `need`, `has` in bytes.
    """
    known = known_fit(workspace, plan.fit)
    if known is not None and (known < side or not side):  # otherwise another compiler found it
        return f"{known} px fits (by `buildsys fit {plan.build}`)"
    if not plan.fit or not side:
        return ""
    estimate = estimate_size(side, need, has)
    if not estimate:
        return f"by an estimate no size fits; `buildsys fit {plan.build}` tries"
    return f"{estimate} px may fit, by an estimate; `buildsys fit {plan.build}` finds out"


def record_fit(workspace: Workspace, key: str, fit: Fit) -> None:
    """Record the result of `buildsys fit`; `key`: see fit_key. On a full disk it is lost."""
    file = _File(format=1, fits=_read(workspace) | {key: fit})
    with contextlib.suppress(OSError):
        write_atomic(_place(workspace), write_record(file), durable=False)


def _read(workspace: Workspace) -> dict[str, Fit]:
    """Return all records; empty where the file is absent or damaged."""
    found = find_record(_File, _place(workspace))
    return found.fits if found is not None else {}


def _place(workspace: Workspace) -> Path:
    return workspace.state / "fit.json"
