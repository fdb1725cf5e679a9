"""Steps of a run on the workers of a cluster; what no worker can take runs here.

The coordinator alone decides, records results and writes buildsys.lock. It puts a step's inputs into
the remote store, sends an order, and takes digests back.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.cluster_settings import ClusterSettings
from buildsys.errors import (
    BuildsysError,
    CannotReach,
    Interrupted,
    MissingBytes,
    StepFailed,
    Waiting,
)
from buildsys.execution.cluster import placement
from buildsys.execution.cluster.connections import MOST_DEATHS, read_certificate
from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Event,
    Failed,
    Order,
    Refused,
    Reply,
    Reported,
    WireInput,
    role_of,
    wire_outputs,
)
from buildsys.execution.cluster.placement import Needs, Place
from buildsys.execution.places import Workspace
from buildsys.execution.running import process
from buildsys.execution.running.runner import EnsureEnv, Runner
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.decide import State
from buildsys.execution.store.action_entry import make_entry
from buildsys.execution.store.tree_index import encode_index
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Input, Step, StepResult
from buildsys.locks import locked
from buildsys.operating_system import host_name
from buildsys.write_errors import writing

if TYPE_CHECKING:  # a run whose steps are all done needs neither
    from buildsys.execution.cluster.farm import Farm, Ordered
    from buildsys.execution.cluster.slurm import Slurm
    from buildsys.execution.store.shared_store import SharedStore

_LOOK_SECONDS = 0.5
"""How often a step that waits looks whether its worker is still there."""
_MOST_STARTS = 6
"""Times that a step is sent out again because workers died that had not begun it."""


class _NobodyFits(Exception):
    """No worker has had what a step needs for as long as one waits."""


class _Watch:
    """What a run hears of a step that is out."""

    def __init__(
        self,
        executor: "ClusterExecutor",
        step: Step,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
    ) -> None:
        self._executor, self._step = executor, step
        self._on_start, self._on_progress = on_start, on_progress
        self.begun: list[str] = []
        """Workers that began it, in order."""

    def hear(self, event: Event) -> None:
        """One event, in the thread of the connection."""
        if isinstance(event, Begun):
            first = not self.begun
            self.begun.append(event.worker)
            self._executor.workers[self._step.id] = event.worker
            if first:
                self._on_start()
            else:
                self._executor.say(f"{self._step.stage} begins again on {event.worker}")
        elif isinstance(event, Reported):
            self._on_progress(event.done, event.total, event.unit, event.note)
        else:
            self._executor.say(f"{event.worker}: {event.text}")


class ClusterExecutor(Runner):
    """A runner whose steps run on workers, once `open` has found them. See `Runner`."""

    places_steps = True

    def __init__(
        self,
        workspace: Workspace,
        state: State,
        say: Callable[[str], None],
        run: process.CommandRunner,
        ensure: EnsureEnv,
        settings: ClusterSettings,
    ) -> None:
        super().__init__(workspace, state, say, run, ensure)
        self.settings = settings
        self._farm: Farm | None = None
        self._slurm: Slurm | None = None
        self._opening = threading.Lock()
        self._patience = Patience(settings.wait_seconds)
        self._refusals: dict[str, str] = {}
        """Worker -> why it did not begin a step; it gets no other one in this run."""
        state.missing = self.missing

    def open(self) -> None:
        """Connect. Raises CannotReach, and BuildsysError for a cluster without a remote store to write."""
        with self._opening:
            if self._farm is None:
                try:
                    self._shared()
                except BuildsysError as error:
                    raise BuildsysError(f"{error} {_HERE}") from error
                self._farm = self._connect()
                count = len(self._farm.places())
                self.say(
                    f"cluster {self._farm.address}: {count} worker{'s' * (count != 1)};"
                    " steps run there, `-n` says how many at once"
                )

    def close(self) -> None:
        """The end of the run: nobody waits for orders any more."""
        if self._farm is not None:
            self._farm.close()
        if self._slurm is not None:
            self._slurm.close()

    def missing(self, step: Step) -> tuple[str, ...]:
        """What a step waits for: nothing while a worker may still come that has it."""
        here = missing_here(step)
        if not here or self._farm is None:
            return here
        needs = placement.needs_of(step, host_name())
        return here if needs is None or self._patience.is_over(needs) else ()

    def _needs(self, step: Step) -> Needs | None:
        """What a step takes of a worker; None where it runs here."""
        return placement.needs_of(step, host_name()) if self._farm is not None else None

    @contextlib.contextmanager
    def _alone(self, step: Step, action_key: ActionKey) -> Iterator[None]:
        """Of a step that is sent out the worker holds the store's lock, whose store may be this one: here
        steps of this workspace alone wait for each other.
        """
        with contextlib.ExitStack() as held:
            if self._needs(step) is None:
                held.enter_context(super()._alone(step, action_key))
            else:
                place = self.workspace.own(self.workspace.state / "orders") / action_key.key
                with writing("the lock of a step", place.parent):
                    held.enter_context(locked(place, self._owner, self._waiting(step)))
            yield

    def _execute(
        self,
        step: Step,
        action_key: ActionKey,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
    ) -> StepResult | None:
        needs = self._needs(step)
        if self._farm is None or needs is None:
            return super()._execute(step, action_key, on_start, on_progress)
        try:
            return self._elsewhere(self._farm, step, action_key, needs, on_start, on_progress)
        except _NobodyFits:
            missing = missing_here(step)
            if missing:
                raise Waiting(f"{step.stage} waits for {missing[0]}") from None
            with super()._alone(step, action_key):
                return super()._execute(step, action_key, on_start, on_progress)

    def _elsewhere(
        self,
        farm: "Farm",
        step: Step,
        action_key: ActionKey,
        needs: Needs,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
    ) -> StepResult:
        """The result of a step on a worker. Raises _NobodyFits, StepFailed, Interrupted."""
        from buildsys.execution.cluster.farm import SchedulerLost, WorkersDied

        watch = _Watch(self, step, on_start, on_progress)
        try:
            self._await_worker(farm, step, needs)
            order = self._order(step, action_key)
            for attempt in range(_MOST_STARTS):
                fitting = self._await_worker(farm, step, needs)
                asked = placement.request(step, needs, fitting)
                only = tuple(place.address for place in fitting) if self._refusals else ()
                try:
                    with farm.ordered(order, asked, only, watch.hear, attempt) as ordered:
                        reply = self._await_reply(farm, ordered, asked, only)
                except WorkersDied:
                    if len(watch.begun) <= MOST_DEATHS:
                        continue  # they died of something else: it had not begun there
                    raise self._died(step, watch.begun) from None
                if isinstance(reply, Refused):
                    self._note_refusal(step, reply)
                elif reply is not None:
                    return self._take(step, action_key, reply)
            raise self._died(step, watch.begun)
        except SchedulerLost:
            raise Interrupted(f"the scheduler at {farm.address} is gone") from None

    def _await_worker(self, farm: "Farm", step: Step, needs: Needs) -> list[Place]:
        """The workers that fit, as soon as there is one. Raises _NobodyFits."""
        while True:
            fitting = [
                place
                for place in farm.places()
                if placement.fits(needs, place.has) and place.name not in self._refusals
            ]
            if fitting:
                self._patience.note_there(needs)
                return fitting
            if self._patience.begin(needs):
                self.say(
                    f"{step.stage} waits for a worker: {placement.described(needs)}"
                    f" (at most {self.settings.wait_seconds:g} s)"
                )
            if self._patience.is_over(needs):
                raise _NobodyFits
            time.sleep(min(_LOOK_SECONDS, self.settings.wait_seconds))

    def _await_reply(
        self, farm: "Farm", ordered: "Ordered", asked: Needs, only: tuple[str, ...]
    ) -> Reply | None:
        """What became of an order; None where no worker is left that could take it as it was sent."""
        while True:
            reply = ordered.reply(_LOOK_SECONDS)
            if reply is not None:
                return reply
            if not any(
                all(place.has.get(label, 0) >= count for label, count in asked.items())
                for place in farm.places()
                if not only or place.address in only
            ):
                return None

    def _order(self, step: Step, action_key: ActionKey) -> Order:
        """The order for a step, whose inputs are in the remote store then."""
        self._check_sources(step, action_key)
        return Order(
            key=action_key.key,
            stage=step.stage,
            module=step.module,
            params=step.params,
            device="cpu" if step.device == "cpu" else "cuda" if step.device == "cuda" else "auto",
            trusts_code=step.trusts_code,
            holds_objects=step.holds_objects,
            inputs=tuple(self._send(item, action_key) for item in step.inputs),
            outputs=wire_outputs(step),
            code=step.code,
            tool_identity=step.tool_identity,
            remote=self._shared().remote.settings.url,
        )

    def _send(self, item: Input, action_key: ActionKey) -> WireInput:
        """An input, whose bytes are in the remote store then. Raises MissingBytes, StepFailed."""
        from buildsys.execution.store.objects import RemoteFailure

        digest, store = dict(action_key.inputs)[item.name], self._shared()
        if item.source is None:
            producer = self.state.steps[item.step]
            output = next(o for o in producer.outputs if o.name == item.output)
            tree, suffix = output.tree, output.suffix
        else:
            tree, suffix = bool(item.source.parts), Path(item.source.path).suffix
            self._keep_source(item, digest, tree)
        try:
            store.push_blobs(digest, tree)
        except FileNotFoundError as error:
            if item.source is None:
                raise MissingBytes(item.step) from error
            raise StepFailed(f"{item.source.label} is not here, and no store has it") from error
        except RemoteFailure as failure:
            raise StepFailed(
                f"the input {item.name} could not be put into {store.remote.settings.url}: {failure}"
            ) from failure
        return WireInput(
            name=item.name, digest=digest, tree=tree, suffix=suffix, role=role_of(item)
        )

    def _keep_source(self, item: Input, digest: str, tree: bool) -> None:
        """What a person gave, in the store of this machine: workers get nothing from a folder here."""
        source, store = item.source, self.state.store
        assert source is not None
        if store.has(digest, tree):
            return
        root = Path(source.path)
        try:
            if not tree:
                found = store.put_file(root)
            else:
                names = self.state.sources.files(source)
                rows = [(n, (root / n).stat().st_size, store.put_file(root / n)) for n in names]
                found = store.put_bytes(encode_index(rows))
        except OSError as error:
            raise StepFailed(f"{source.label} cannot be read: {error.strerror or error}") from error
        if found != digest:
            raise StepFailed(f"{source.label} changed while this run needed it; nothing was kept.")

    def _take(self, step: Step, action_key: ActionKey, reply: Answer | Failed) -> StepResult:
        """The result of a step from what the worker says. Raises StepFailed."""
        log = self.log(action_key.key)
        self._fetch_log(reply.log, log)
        if isinstance(reply, Failed):
            text = reply.text.replace(reply.place, str(log)) if reply.place else reply.text
            raise StepFailed(f"on worker {reply.worker}: {text}", refused=reply.refused)
        declared = sorted(output.name for output in step.outputs)
        if sorted(name for name, _ in reply.outputs) != declared:
            raise StepFailed(
                f"worker {reply.worker} made other outputs of {step.stage} than it has"
            )
        result = StepResult(outputs=reply.outputs, seconds=reply.seconds, passed=reply.passed)
        store = self._shared()
        store.note_there(digest for _, digest in reply.outputs)
        diary = dict(reply.diary) | {"worker": reply.worker}
        store.record(make_entry(step, action_key.key, result, diary))
        self.variants[step.tool_env] = reply.variant
        self.isolations[step.id] = reply.isolation
        self.state.finish(step, action_key, result)
        self.state.database.record_duration(step.module, reply.seconds)
        return result

    def _fetch_log(self, digest: str, log: Path) -> None:
        """A step's log as a file of this workspace, like those of steps that ran here."""
        if digest:
            with contextlib.suppress(OSError, BuildsysError):
                self._shared().fetch(digest, log, tree=False)

    def _note_refusal(self, step: Step, reply: Refused) -> None:
        """It is said once; that worker gets no other step in this run."""
        if reply.worker not in self._refusals:
            self._refusals[reply.worker] = reply.why
            self.say(f"worker {reply.worker} refused {step.stage}: {reply.why}")

    def _died(self, step: Step, workers: list[str]) -> StepFailed:
        names = ", ".join(dict.fromkeys(workers))
        return StepFailed(
            f"{step.stage} ({step.module}) failed: two workers died while they ran it ({names}); the"
            " machine may have run out of memory. What they printed is on those machines.",
            detail="two workers died",
        )

    def _shared(self) -> "SharedStore":
        """The store, with the remote one that everything goes through. Raises BuildsysError."""
        from buildsys.execution.cluster.work import written_store

        return written_store(self.state.store)

    def _connect(self) -> "Farm":
        """Raises BuildsysError."""
        try:
            from buildsys.execution.cluster.farm import Farm
        except ImportError as error:
            raise CannotReach(f"{MISSING_LIBRARY}. {_HERE}") from error
        settings = self.settings
        if settings.slurm is not None:
            from buildsys.execution.cluster.slurm import Slurm

            self._slurm = Slurm(settings.slurm, self.workspace)
            return Farm(self._slurm.address, self._slurm.certificate)
        certificate = (
            read_certificate(self.workspace.root / Path(settings.ca).expanduser(), "buildsys.yaml")
            if settings.ca
            else None
        )
        try:
            return Farm(settings.scheduler, certificate)
        except CannotReach as error:
            raise CannotReach(
                f"the scheduler {settings.scheduler} cannot be reached: {error}. Start it with"
                f" `buildsys scheduler`. {_HERE}"
            ) from error


_HERE = "BUILDSYS_CLUSTER=none builds on this machine alone."
MISSING_LIBRARY = (
    "a cluster needs dask's distributed, which is not installed: `pip install 'buildsys[cluster]'`"
)


class Patience:
    """Since when no worker has had what some steps need: they wait for one together."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
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
            return since is not None and time.monotonic() - since >= self._seconds


def _key(needs: Needs) -> frozenset[tuple[str, int]]:
    return frozenset(placement.hard(needs).items())
