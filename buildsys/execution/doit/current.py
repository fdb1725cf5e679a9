"""The run of this process: how it is meant, and its one session over the current folder."""

import contextlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from buildsys.errors import BuildsysError
from buildsys.execution.doit.commandline import COMMANDS, arguments, is_run, selects
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.state import unchanged


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a run is meant; `buildsys build` sets them, `doit` takes the defaults.

    `strict`: a build that waits is a failure, even if nobody named it; `github`: annotations;
    `retrain`: recorded trainings of other tools or code do not count; `settled`: what needs nothing, where it
    was read already.
    """

    strict: bool = False
    github: bool = False
    retrain: bool = False
    settled: unchanged.Settled | None = None


_wishes = Wishes()


def wish(meant: Wishes) -> None:
    """How the run of this process is meant; before anything asks for its session."""
    global _wishes
    _wishes = meant


def wishes() -> Wishes:
    """How this run is meant."""
    return _wishes


@cache
def session() -> Session:
    """The one session of this process, for the workspace in the current folder."""
    root = Path.cwd()
    known = wishes().settled
    settled = (
        {}
        if wishes().retrain
        else known
        if known is not None
        else unchanged.settled_recipes(Workspace(root))
    )
    found = Session(root, settled=settled)
    if is_run() and any(plan.archive and plan.waiting_for for plan in found.loaded.plans):
        found.close()
        _fetch(found)
        found = Session(root, settled=found.settled)
    if wishes().retrain:
        found.forget_trainings()
    return found


def _fetch(current: Session) -> None:
    """The archives of the builds that are asked for; what cannot be had is waited for."""
    from buildsys.execution.session.dataset_archives import fetch_archive, wanted_archives

    names = [name for name in arguments() if name not in COMMANDS]
    plans = [
        plan
        for plan in current.loaded.plans
        if not names or any(selects(name, [f"build:{plan.build}"]) for name in names)
    ]
    for url, sha256 in wanted_archives(plans):
        with contextlib.suppress(BuildsysError):  # said where it happened
            fetch_archive(current.workspace.root, url, sha256)
