"""Steps of a run on the workers of a cluster; what no worker can take runs here.

The coordinator alone decides, records results and writes buildsys.lock. A run in which nothing has to
run connects to nobody.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from buildsys.cluster_settings import ClusterSettings
from buildsys.errors import BuildsysError, CannotReach, Waiting
from buildsys.execution.cluster import placement
from buildsys.execution.cluster.connections import may_be_off, read_certificate
from buildsys.execution.cluster.placement import Needs
from buildsys.execution.running import process
from buildsys.execution.running.runner import Runner, make_once
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.configured_cluster import certificate_source, find_certificate
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Step, StepResult
from buildsys.locks import locked
from buildsys.operating_system import host_name
from buildsys.write_errors import writing

if TYPE_CHECKING:  # a run whose steps are all done needs neither
    from buildsys.execution.cluster.dispatch import Dispatch
    from buildsys.execution.cluster.scheduler_connection import SchedulerConnection
    from buildsys.execution.cluster.slurm import Slurm
    from buildsys.execution.store.shared_store import SharedStore


class ClusterExecutor:
    """Runs the steps of a run on workers, once `open` has found them; `here`: what runs all else."""

    def __init__(self, here: Runner, settings: ClusterSettings) -> None:
        self.here, self.settings = here, settings
        self._dispatch: Dispatch | None = None
        self._slurm: Slurm | None = None
        self._opening = threading.Lock()
        self.patience = Patience(settings.wait_seconds)
        here.state.missing = self.missing

    def open(self) -> None:
        """Connect. Raises CannotReach, and BuildsysError for a cluster without a remote store to write."""
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
                self.here.say(
                    f"cluster {connection.address}: {count} worker{'s' * (count != 1)};"
                    " steps run there, `-n` says how many at once"
                )

    def close(self) -> None:
        """The end of the run: nobody waits for orders any more."""
        if self._dispatch is not None:
            self._dispatch.close()
        if self._slurm is not None:
            self._slurm.close()

    def missing(self, step: Step) -> tuple[str, ...]:
        """What a step waits for: nothing while a worker may still come that has it."""
        here = missing_here(step)
        if not here or self._dispatch is None:
            return here
        needs = placement.needs_of(step, host_name())
        is_over = needs is None or self.patience.is_over(needs) or self.patience.is_over({})
        return here if is_over else ()

    def execute(
        self, step: Step, on_start: Callable[[], None], on_progress: process.OnProgress
    ) -> StepResult | None:
        """As `Runner.execute`, on a worker that has what the step needs. Raises Waiting where none has it, nor
        this machine.
        """
        dispatch, needs = self._dispatch, placement.needs_of(step, host_name())
        if dispatch is None or needs is None:
            return self.here.execute(step, on_start, on_progress)

        def make(action_key: ActionKey) -> StepResult | None:
            from buildsys.execution.cluster.dispatch import NobodyFits

            try:
                return dispatch.make(step, action_key, needs, on_start, on_progress)
            except NobodyFits:
                missing = missing_here(step)
                if missing:
                    raise Waiting(f"{self.here.name(step)} waits for {missing[0]}") from None
                if self.here.workers.pop(step.id, None):  # a worker has begun it
                    self.here.say(f"{self.here.name(step)} begins again on this machine")
                return self.here.execute(step, on_start, on_progress)

        return make_once(self.here.state, step, self._alone, make)

    @contextlib.contextmanager
    def _alone(self, step: Step, action_key: ActionKey) -> Iterator[None]:
        """Of a step that is sent out the worker holds the store's lock, whose store may be this one: here
        steps of this workspace alone wait for each other.
        """
        workspace = self.here.workspace
        place = workspace.own(workspace.state / "orders") / action_key.key
        with contextlib.ExitStack() as held:
            with writing("the lock of a step", place.parent):
                held.enter_context(locked(place, self.here.owner, self.here.waiting(step)))
            yield

    def _shared(self) -> "SharedStore":
        """The store, with the remote one that everything goes through, which takes what is put there. Raises
        BuildsysError.
        """
        from buildsys.execution.cluster.order_handler import written_store

        try:
            return written_store(self.here.state.store)
        except BuildsysError as error:
            raise BuildsysError(f"{error}. {_HERE}") from error

    def _connect(self) -> "SchedulerConnection":
        """Raises BuildsysError."""
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
        late = threading.Timer(_SAY_SECONDS, self.here.say, (waiting,))
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


_SAY_SECONDS = 1.0
"""How long a connection is waited for without a word."""
_HERE = "BUILDSYS_CLUSTER=none builds on this machine alone."
MISSING_LIBRARY = (
    "a cluster needs dask's distributed, which is not installed: `pip install 'buildsys[cluster]'`"
)


class Patience:
    """Since when no worker has had what some steps need: they wait for one together."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._since: dict[frozenset[tuple[str, int]], float] = {}
        self._lock = threading.Lock()

    def begin(self, needs: Needs) -> bool:
        """Nobody has it now; returns whether that is new."""
        with self._lock:
            new = _key(needs) not in self._since
            self._since.setdefault(_key(needs), time.monotonic())
            return new

    def note_there(self, needs: Needs) -> None:
        """Somebody has it."""
        with self._lock:
            self._since.pop(_key(needs), None)

    def is_over(self, needs: Needs) -> bool:
        """Whether it was waited for long enough."""
        with self._lock:
            since = self._since.get(_key(needs))
            return since is not None and time.monotonic() - since >= self.seconds


def _key(needs: Needs) -> frozenset[tuple[str, int]]:
    return frozenset(placement.hard(needs).items())
