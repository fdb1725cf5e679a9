"""The largest input size that is known to fit, kept in .buildsys/fit.json, and what to say of it.

The record goes by what decides the need and the room (network, head, quantization, compiler,
firmware), not by weights, pictures or names: it serves every build that is alike.
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
    """What `buildsys fit` found for a build: the larger side in pixels, or None; `proven`: a larger one
    was seen not to fit. `tried`: every size with its need and verdict, for people.
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
    """The larger side, in pixels, of the largest input that was seen to fit; None where nobody
    asked, or nothing fits. `key`: see fit_key.
    """
    found = _read(workspace).get(key)
    return found.side if found is not None else None


def advise(workspace: Workspace, plan: BuildPlan, side: int, need: float, has: float) -> str:
    """What to do about a build that needs too much, as half a sentence: the size that is known to fit,
    else an estimate that says it is one; empty where there is no size to speak of.

    `side` of the build in pixels; `need`, `has` in bytes.
    """
    known = known_fit(workspace, plan.fit)
    if known is not None:
        return f"{known} px fits (by `buildsys fit {plan.build}`)"
    if not plan.fit or not side:
        return ""
    estimate = estimate_size(side, need, has)
    if not estimate:
        return f"by an estimate no size fits; `buildsys fit {plan.build}` tries"
    return f"{estimate} px may fit, by an estimate; `buildsys fit {plan.build}` finds out"


def remember_fit(workspace: Workspace, key: str, fit: Fit) -> None:
    """Keep what `buildsys fit` found; `key`: see fit_key. A full disk loses it."""
    file = _File(format=1, fits=_read(workspace) | {key: fit})
    with contextlib.suppress(OSError):
        write_atomic(_place(workspace), write_record(file), durable=False)


def _read(workspace: Workspace) -> dict[str, Fit]:
    """Everything that is known; nothing where the file is absent or damaged."""
    found = find_record(_File, _place(workspace))
    return found.fits if found is not None else {}


def _place(workspace: Workspace) -> Path:
    return workspace.state / "fit.json"
