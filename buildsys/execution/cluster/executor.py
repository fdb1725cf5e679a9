"""Runs steps on the workers of a cluster; steps that no worker can take run on this machine.

The coordinator alone decides, records results and writes buildsys.lock. A run without steps to run
connects to no scheduler.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from buildsys.cluster_settings import ClusterSettings
from buildsys.errors import BuildsysError, CannotReach, Waiting
from buildsys.execution.cluster import placement
from buildsys.execution.cluster.connections import may_be_off, read_certificate
from buildsys.execution.cluster.waiting_limit import Patience
from buildsys.execution.running import process
from buildsys.execution.running.runner import Runner, make_once
from buildsys.execution.settings.cluster import certificate_source, find_certificate
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Step, StepResult
from buildsys.locks import locked
from buildsys.operating_system import platform_name
from buildsys.text import count_text
from buildsys.write_errors import writing

if TYPE_CHECKING:  # not needed by a run whose steps are all done
    from buildsys.execution.cluster.dispatch import Dispatch
    from buildsys.execution.cluster.scheduler_connection import SchedulerConnection
    from buildsys.execution.cluster.slurm import Slurm
    from buildsys.execution.store.shared_store import SharedStore


class ClusterExecutor:
    """Runs the steps of a run on workers, after `open`; `here` runs all other steps."""

    def __init__(self, here: Runner, settings: ClusterSettings) -> None:
        self.here, self.settings = here, settings
        self._dispatch: Dispatch | None = None
        self._slurm: Slurm | None = None
        self._opening = threading.Lock()
        self.patience = Patience(settings.wait_seconds)
        here.state.missing = self.missing

    def open(self) -> None:
        """Connect.

        Raises CannotReach; BuildsysError for a cluster without a writable remote store.
        """
        with self._opening:
            if self._dispatch is None:
                store = self._shared()
                connection = self._connect()
                from buildsys.execution.cluster.dispatch import Dispatch
                from buildsys.execution.cluster.scheduler_connection import SchedulerLost

                try:
                    count = len(connection.places())
                except SchedulerLost as error:
                    connection.close()
                    raise CannotReach(
                        f"the scheduler at {connection.address} is gone. {_HERE}"
                    ) from error
                try:
                    self._dispatch = Dispatch(self.here, self.patience, connection, store)
                except RemoteFailure as error:
                    connection.close()
                    raise CannotReach(f"{store.settings.url}: {error}. {_HERE}") from error
                self.here.print_line(
                    f"cluster {connection.address}: {count_text(count, 'worker')};"
                    " steps run there, `-n` sets how many at a time"
                )

    def close(self) -> None:
        """Close the connection at the end of the run."""
        if self._dispatch is not None:
            self._dispatch.close()
        if self._slurm is not None:
            self._slurm.close()

    def missing(self, step: Step) -> tuple[str, ...]:
        """Return what a step waits for; empty while a worker that has it may still come."""
        here = missing_here(step)
        if not here or self._dispatch is None:
            return here
        needs = placement.needs_of(step, platform_name())
        is_over = needs is None or self.patience.is_over(needs) or self.patience.is_over({})
        return here if is_over else ()

    def execute(
        self, step: Step, on_start: Callable[[], None], on_progress: process.OnProgress
    ) -> StepResult | None:
        """Like `Runner.execute`, on a worker that meets the step's requirements.

        Raises Waiting where neither a worker nor this machine meets them.
        """
        dispatch, needs = self._dispatch, placement.needs_of(step, platform_name())
        if dispatch is None or needs is None:
            return self.here.execute(step, on_start, on_progress)

        def make(action_key: ActionKey) -> StepResult | None:
            from buildsys.execution.cluster.dispatch import NoWorkerFits

            try:
                return dispatch.make(step, action_key, needs, on_start, on_progress)
            except NoWorkerFits:
                missing = missing_here(step)
                if missing:
                    raise Waiting(f"{self.here.name(step)} waits for {missing[0]}") from None
                if self.here.workers.pop(step.id, None):  # a worker has started it
                    self.here.print_line(f"{self.here.name(step)} begins again on this machine")
                return self.here.execute(step, on_start, on_progress)

        return make_once(self.here.state, step, self._alone, make)

    @contextlib.contextmanager
    def _alone(self, step: Step, action_key: ActionKey) -> Iterator[None]:
        """Hold this workspace's lock for a step that runs on a worker.

        The store's lock is left to the worker, whose store may be this machine's.
        """
        workspace = self.here.workspace
        place = workspace.own(workspace.state / "orders") / action_key.key
        with contextlib.ExitStack() as held:
            with writing("the lock of a step", place.parent):
                held.enter_context(locked(place, self.here.owner, self.here.waiting(step)))
            yield

    def _shared(self) -> "SharedStore":
        """Return the store with its remote, after a test upload. Raises BuildsysError."""
        from buildsys.execution.cluster.order_handler import written_store

        try:
            return written_store(self.here.state.store)
        except BuildsysError as error:
            raise BuildsysError(f"{error}. {_HERE}") from error

    def _connect(self) -> "SchedulerConnection":
        """Return a new connection to the scheduler. Raises BuildsysError."""
        try:
            from buildsys.execution.cluster.scheduler_connection import SchedulerConnection
        except ImportError as error:
            raise CannotReach(f"{MISSING_LIBRARY}. {_HERE}") from error
        settings = self.settings
        if settings.slurm is not None:
            from buildsys.execution.cluster.slurm import Slurm

            self._slurm = Slurm(settings.slurm, self.here.workspace)
            return SchedulerConnection(self._slurm.address, self._slurm.certificate)
        file = find_certificate(self.here.workspace, settings)
        certificate = read_certificate(file, certificate_source()) if file is not None else None
        waiting = f"waiting for the scheduler {settings.scheduler}"
        late = threading.Timer(_LINE_SECONDS, self.here.print_line, (waiting,))
        late.daemon = True
        late.start()
        try:
            return SchedulerConnection(settings.scheduler, certificate)
        except CannotReach as error:
            cure = "Start it with `buildsys scheduler`. " if may_be_off(str(error)) else ""
            raise CannotReach(
                f"the scheduler {settings.scheduler} cannot be used: {error}. {cure}{_HERE}"
            ) from error
        finally:
            late.cancel()


_LINE_SECONDS = 1.0
"""Seconds of waiting for a connection before a line is printed."""
_HERE = "BUILDSYS_CLUSTER=none builds on this machine alone."
MISSING_LIBRARY = (
    "a cluster needs dask's distributed, which is not installed: `pip install 'buildsys[cluster]'`"
)
