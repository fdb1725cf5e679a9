"""The largest input size that is known to fit, kept in .buildsys/fit.json, and what to say of it.

The record goes by what decides the need and the room (network, head, quantization, compiler,
firmware), not by weights, pictures or names: it serves every build that is alike.
"""

import contextlib
import json
from typing import Any

from buildsys.execution.places import Workspace
from buildsys.files import write_atomic
from buildsys.graph import Plan
from buildsys.steps.lib.firmware.memory_estimate import estimate_size


def known_fit(workspace: Workspace, key: str) -> int | None:
    """The larger side, in pixels, of the largest input that was seen to fit; None where nobody
    asked, or nothing fits. `key`: see fit_key.
    """
    side = _read(workspace).get(key, {}).get("side")
    return side if isinstance(side, int) else None


def advise(workspace: Workspace, plan: Plan, side: int, need: float, has: float) -> str:
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


def remember_fit(workspace: Workspace, key: str, build: str, record: dict[str, object]) -> None:
    """Keep what `buildsys fit` found: `side` (or None), `proven`, `tried`. A full disk loses it."""
    known = _read(workspace) | {key: {"build": build, **record}}
    path = workspace.state / "fit.json"
    with contextlib.suppress(OSError):
        write_atomic(path, json.dumps(known, indent=1, sort_keys=True) + "\n", durable=False)


def _read(workspace: Workspace) -> dict[str, Any]:
    """Everything that is known; nothing where the file is absent or damaged."""
    try:
        data = json.loads((workspace.state / "fit.json").read_bytes())
    except (OSError, ValueError):
        return {}
    rows = data.items() if isinstance(data, dict) else ()
    return {key: row for key, row in rows if isinstance(row, dict)}
