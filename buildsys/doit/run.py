"""One run of doit: its options, its command line, and its one session."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.doit.names import matches
from buildsys.errors import BuildsysError
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.state.settled import Settled, settled_recipes
from buildsys.graph import wanted_archives


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run; plain `doit` uses the defaults.

    `strict`: a waiting build counts as a failure, even if it was not named; `github`: annotations;
    `retrain`: ignore recorded trainings of other tools or code; `locked`: buildsys.lock must not
    change; `settled`: the recipes that need no work, if already known.
    """

    strict: bool = False
    github: bool = False
    retrain: bool = False
    locked: bool = False
    settled: Settled | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """What doit's command line requests.

    `names`: patterns of tasks; `runs`: tasks are executed, not listed or cleaned; `every_plan`:
    plans of recipes without work are needed, too, to show files.
    """

    names: tuple[str, ...] = ()
    runs: bool = False
    every_plan: bool = False


UNKNOWN = Request(every_plan=True)
"""doit's default loader passes no arguments on: everything is loaded, and doit selects."""


class Run:
    """A workspace, the options of its run, and the session after doit has requested tasks."""

    def __init__(self, root: Path, options: RunOptions) -> None:
        self.workspace = Workspace(root.resolve())
        self.options = options
        self.request = UNKNOWN
        self.process = os.getpid()
        self.publishing: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        """Limits how many packages are published at a time."""
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """Return the session of this run, after `begin`."""
        assert self._session is not None
        return self._session

    def begin(self, request: Request) -> Session:
        """Load the plans, after fetching the requested archives of datasets.

        Raises BuildsysError where the workspace cannot be read.
        """
        self.request = request
        self._session = self._load()
        return self._session

    def _load(self) -> Session:
        locked = self.options.locked
        found = Session(self.workspace.root, settled=self._settled(), locked=locked)
        if self.request.runs and wanted_archives(found.loaded.plans):
            found.close()
            self._fetch_archives(found)
            found = Session(self.workspace.root, settled=found.settled, locked=locked)
        if self.options.retrain:
            found.forget_trainings()
        return found

    def _settled(self) -> Settled:
        if self.options.retrain or self.request.every_plan:
            return {}
        known = self.options.settled
        return settled_recipes(self.workspace) if known is None else known

    def _fetch_archives(self, current: Session) -> None:
        """Fetch the archives of the requested builds; builds wait for those that cannot be
        fetched.
        """
        from buildsys.execution.session.dataset_archives import fetch_archive

        names = self.request.names
        plans = [
            plan
            for plan in current.loaded.plans
            if not names or any(matches(name, [f"build:{plan.build}"]) for name in names)
        ]
        for archive in wanted_archives(plans):
            with contextlib.suppress(BuildsysError):  # the error was printed
                fetch_archive(self.workspace.root, archive)
