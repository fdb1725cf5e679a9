"""Orders of a run: a step's inputs into the remote store, an order to a worker, a result from its reply.

Loaded when the first step is sent out.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.errors import BuildsysError, Interrupted, MissingBytes, StepFailed
from buildsys.execution.cluster import placement
from buildsys.execution.cluster.connections import MOST_DEATHS
from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Event,
    Failed,
    InputsLost,
    Order,
    Refused,
    Reply,
    Reported,
    Undelivered,
    WireInput,
    role_of,
    wire_outputs,
)
from buildsys.execution.cluster.placement import Needs, Place
from buildsys.execution.cluster.scheduler_connection import (
    Ordered,
    SchedulerConnection,
    SchedulerLost,
    WorkersDied,
)
from buildsys.execution.running import process
from buildsys.execution.running.process import open_log
from buildsys.execution.running.runner import Runner
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.store.action_entry import WORKER, blob_name, machine_of, make_entry
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.execution.store.tree_index import encode_index
from buildsys.graph import Input, Step, StepResult

if TYPE_CHECKING:
    from buildsys.execution.cluster.executor import Patience

_LOOK_SECONDS = 0.5
"""How often a step that waits looks whether its worker is still there."""
_DELIVERY_PAUSES = (5.0, 30.0, 60.0)
"""Seconds before a worker is asked again for a result that it could not put into the remote store."""
_MOST_REFUSALS = 20
"""Of one step, by workers that come and go."""
_MOST_LOST = 5
"""Times that workers may die with a step that they had not begun."""


class NobodyFits(Exception):
    """No worker has had what a step needs for as long as one waits, or none can get its inputs."""


class _StepEvents:
    """What becomes of a step that is out, as its worker reports it."""

    def __init__(
        self,
        runner: Runner,
        step: Step,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
    ) -> None:
        self._runner, self._step = runner, step
        self._on_start, self._on_progress = on_start, on_progress
        self.begun: list[str] = []
        """Workers that began it, in order."""

    def on_event(self, event: Event) -> None:
        """One event, in the thread of the connection."""
        if isinstance(event, Begun):
            first = not self.begun
            self.begun.append(event.worker)
            self._runner.workers[self._step.id] = event.worker
            if first:
                self._on_start()
            else:
                before = self.begun[-2]
                gone = f"worker {before} is gone: " if before != event.worker else ""
                self._runner.say(
                    f"{gone}{self._runner.name(self._step)} begins again on {event.worker}"
                )
        elif isinstance(event, Reported):
            self._on_progress(event.done, event.total, event.unit, event.note)
        else:
            self._runner.say(f"{self._runner.name(self._step)} on {event.worker}: {event.text}")


class Dispatch:
    """Sends the steps of one run to the workers of a scheduler."""

    def __init__(
        self,
        runner: Runner,
        patience: "Patience",
        connection: SchedulerConnection,
        store: SharedStore,
    ) -> None:
        """`runner`: of this machine, which knows the steps' inputs, logs and names."""
        self.runner, self.patience = runner, patience
        self.connection, self.store = connection, store
        self._is_store_lost = False
        """Whether nobody can put anything into the remote store any more."""
        self._reported_left_out: set[str] = set()
        self._gone: set[str] = set()
        self._proof = store.put_bytes(os.urandom(32))
        store.push_blobs(self._proof, tree=False)
        self._refusals: dict[str, str] = {}
        """Worker -> why it did not begin a step; it gets no other one in this run."""

    def close(self) -> None:
        """The end of the run."""
        with contextlib.suppress(RemoteFailure, BuildsysError):
            self.store.remote.remove(blob_name(self._proof))
        self.connection.close()

    def make(
        self,
        step: Step,
        action_key: ActionKey,
        needs: Needs,
        on_start: Callable[[], None],
        on_progress: process.OnProgress,
    ) -> StepResult | None:
        """The result of a step on a worker; None where it was there already. Raises NobodyFits, StepFailed,
        MissingBytes, Interrupted.
        """
        events, attempt, lost = _StepEvents(self.runner, step, on_start, on_progress), 0, 0
        sent_again: set[str] = set()
        holders: list[str] = []
        refusals = 0
        try:
            self._await_worker(step, needs)
            order = self._order(step, action_key)
            while True:
                fitting = self._await_worker(step, needs)
                holding = [place for place in fitting if place.name in holders[-1:]]
                fitting = holding or fitting
                asked = placement.request(step, needs, fitting)
                are_some = bool(holding or self._refusals or self.connection.left_out)
                only = tuple(place.address for place in fitting) if are_some else ()
                try:
                    with self.connection.ordered(
                        order, asked, only, events.on_event, attempt
                    ) as ordered:
                        reply = self._await_reply(ordered, asked, only)
                except WorkersDied:
                    lost += 1
                    if len(events.begun) > MOST_DEATHS or lost == _MOST_LOST:
                        raise _died(step, events.begun) from None
                    reply = None  # they died of something else: it had not begun there
                if reply is None and events.begun:
                    self._say_gone(events.begun[-1])
                match reply:
                    case Refused():
                        refusals += 1
                        if reply.lacks_store:
                            self._require_store()
                        self._note_refusal(step, reply.worker, reply.why)
                        if refusals == _MOST_REFUSALS:
                            raise NobodyFits
                    case InputsLost() if self._is_elsewhere(reply):
                        why = (
                            f"{self.store.settings.url} is another store there than here: look at `endpoint`"
                            " of `remote`, and at what is mounted"
                        )
                        self._note_refusal(step, reply.worker, why)
                    case InputsLost():
                        self._send_again(step, action_key, order, reply, sent_again)
                    case Undelivered():
                        holders.append(reply.worker)
                        self._await_delivery(step, reply, len(holders) - 1)
                    case Answer() if why := self._missing_result(step, action_key, reply):
                        self._note_refusal(step, reply.worker, why)
                        refusals += 1
                        if refusals == _MOST_REFUSALS:
                            raise NobodyFits
                    case Answer() | Failed():
                        return self._take(step, action_key, reply, events.begun)
                attempt += 1
        except SchedulerLost:
            raise Interrupted(f"the scheduler at {self.connection.address} is gone") from None

    def _say_gone(self, worker: str) -> None:
        """A line for a worker that has begun a step and is there no more; once."""
        if worker not in self._gone and all(p.name != worker for p in self.connection.places()):
            self._gone.add(worker)
            self.runner.say(f"worker {worker} is gone")

    def _await_worker(self, step: Step, needs: Needs) -> list[Place]:
        """The workers that fit, as soon as there is one. Raises NobodyFits."""
        patience = self.patience
        while True:
            places = [p for p in self.connection.places() if p.name not in self._refusals]
            for address in self.connection.left_out.keys() - self._reported_left_out:
                self._reported_left_out.add(address)
                self.runner.say(self.connection.left_out[address])
            fitting = [place for place in places if placement.fits(needs, place.has)]
            if self._is_store_lost or not self.store.remote.writes:
                raise NobodyFits
            if places:
                patience.note_there({})
            if fitting:
                patience.note_there(needs)
                return fitting
            missed = needs if places else {}  # while there is none, all wait together
            if patience.begin(missed):
                self.runner.say(
                    f"{self.runner.name(step)} waits for a worker: {placement.described(missed) or 'there is none'}"
                    f" (at most {self.patience.seconds:g} s)"
                )
            if patience.is_over(missed):
                raise NobodyFits
            time.sleep(min(_LOOK_SECONDS, self.patience.seconds))

    def _await_reply(self, ordered: Ordered, asked: Needs, only: tuple[str, ...]) -> Reply | None:
        """What became of an order; None where no worker is left that could take it as it was sent."""
        while True:
            reply = ordered.reply(_LOOK_SECONDS)
            if reply is not None:
                return reply
            if not any(
                all(place.has.get(label, 0) >= count for label, count in asked.items())
                for place in self.connection.places()
                if not only or place.address in only
            ):
                return None

    def _order(self, step: Step, action_key: ActionKey) -> Order:
        """The order for a step, whose inputs are in the remote store then."""
        self.runner.check_sources(step, action_key)
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
            remote=self.store.remote.settings.url,
            proof=self._proof,
        )

    def _send(self, item: Input, action_key: ActionKey) -> WireInput:
        """An input, whose bytes are in the remote store then. Raises MissingBytes, StepFailed, NobodyFits."""
        digest, store = dict(action_key.inputs)[item.name], self.store
        if item.source is None:
            producer = self.runner.state.steps[item.step]
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
            raise StepFailed(f"{item.source.label} does not exist here or in any store") from error
        except (
            RemoteFailure
        ) as failure:  # which was said: without the store this machine goes on alone
            raise NobodyFits from failure
        return WireInput(
            name=item.name, digest=digest, tree=tree, suffix=suffix, role=role_of(item)
        )

    def _is_elsewhere(self, reply: InputsLost) -> bool:
        """Whether a worker cannot find what is in the remote store, although it is there. Raises NobodyFits."""
        if self._proof not in reply.blobs:
            return False
        try:
            if self.store.remote.size(self._proof) is not None:
                return True
            self.store.note_absent([self._proof])
            self.store.push_blobs(self._proof, tree=False)
        except (RemoteFailure, FileNotFoundError) as failure:
            self._require_store()
            raise NobodyFits from failure
        return False

    def _send_again(
        self,
        step: Step,
        action_key: ActionKey,
        order: Order,
        reply: InputsLost,
        sent_again: set[str],
    ) -> None:
        """The remote store has lost bytes of a step's inputs since they were put there, or since somebody
        else put them there. Raises as `_send`.
        """
        store = self.store
        lost = set(reply.blobs) - sent_again
        if not lost:
            self.runner.say(
                f"{store.settings.url} loses what is put there; {self.runner.name(step)} runs here"
            )
            raise NobodyFits
        sent_again |= lost
        for item, sent in zip(step.inputs, order.inputs, strict=True):
            blobs = {sent.digest}
            with contextlib.suppress(OSError, BuildsysError):
                blobs |= {file.digest for file in store.index(sent.digest)} if sent.tree else set()
            if blobs & lost:
                self.runner.say(
                    f"{store.settings.url} has lost `{item.name}` of {self.runner.name(step)}:"
                    " it is uploaded again"
                )
                store.note_absent((blobs & lost) | {sent.digest})
            self._send(item, action_key)

    def _await_delivery(self, step: Step, reply: Undelivered, rounds: int) -> None:
        """Returns when the worker, which has the result, is to be asked again. Raises NobodyFits where nobody
        can put anything into the remote store any more.
        """
        self.runner.say(
            f"{self.runner.name(step)} is done on {reply.worker}, and its result is not in the remote store yet:"
            f" {reply.why}"
        )
        self._require_store()
        if rounds == len(_DELIVERY_PAUSES):
            self._note_refusal(step, reply.worker, reply.why)
            return
        time.sleep(_DELIVERY_PAUSES[rounds])

    def _require_store(self) -> None:
        """Raises NobodyFits where this machine cannot put anything into the remote store either: no step goes
        out any more.
        """
        try:
            self.store.remote.prove_writing()
        except BuildsysError as error:
            if not self._is_store_lost:
                self._is_store_lost = True
                self.runner.say(f"{error}; steps run here")
            raise NobodyFits from error

    def _missing_result(self, step: Step, action_key: ActionKey, reply: Answer) -> str:
        """Why the remote store does not have what a worker says that it put there; empty where it has it. Raises
        NobodyFits.
        """
        digests, store = [digest for _, digest in reply.outputs], self.store
        try:
            if None in store.remote.each(store.remote.size, digests):
                return "the remote store does not have the files that the worker reports to have uploaded"
            if not store.settings.trusted:
                return ""
            is_signed = store.keep_signed(action_key.key, machine_of(step), reply.outputs)
        except RemoteFailure as failure:
            self._require_store()
            raise NobodyFits from failure
        return "" if is_signed else "nobody in `remote.trusted` has signed what it put there"

    def _keep_source(self, item: Input, digest: str, tree: bool) -> None:
        """What a person gave, in the store of this machine: workers get nothing from a folder here."""
        source, store = item.source, self.runner.state.store
        assert source is not None
        if store.has(digest, tree):
            return
        root = Path(source.path)
        try:
            if not tree:
                found = store.put_file(root)
            else:
                names = self.runner.state.sources.files(source)
                rows = [(n, (root / n).stat().st_size, store.put_file(root / n)) for n in names]
                found = store.put_bytes(encode_index(rows))
        except OSError as error:
            raise StepFailed(f"{source.label} cannot be read: {error.strerror or error}") from error
        if found != digest:
            raise StepFailed(
                f"{source.label} changed while this run used it; the results were discarded."
            )

    def _take(
        self, step: Step, action_key: ActionKey, reply: Answer | Failed, begun: list[str]
    ) -> StepResult | None:
        """The result of a step from what the worker says; None where it was not made for this run: nobody
        has `begun` it. Raises StepFailed.
        """
        log = self.runner.log(action_key.key)
        self._fetch_log(reply.log, log)
        if isinstance(reply, Failed):
            is_path = reply.place.endswith(f"{action_key.key}.log")
            text = reply.text.replace(reply.place, str(log)) if is_path else reply.text
            raise StepFailed(f"on worker {reply.worker}: {text}", refused=reply.refused)
        declared = sorted(output.name for output in step.outputs)
        if sorted(name for name, _ in reply.outputs) != declared:
            raise StepFailed(
                f"worker {reply.worker} reported outputs that {step.stage} does not have"
            )
        result = StepResult(outputs=reply.outputs, seconds=reply.seconds, passed=reply.passed)
        self.store.note_there(digest for _, digest in reply.outputs)
        diary = dict(reply.diary) | {WORKER: reply.worker}
        self.store.note(make_entry(step, action_key.key, result, diary))
        if not reply.made and reply.worker not in begun:
            self.runner.state.finish(step, action_key, result)
            return None
        self.runner.variants[step.tool_env] = reply.variant
        self.runner.isolations[step.id] = reply.isolation
        self.runner.state.finish(step, action_key, result)
        self.runner.state.database.record_duration(step.module, reply.seconds)
        return result

    def _fetch_log(self, digest: str, log: Path) -> None:
        """A step's log as a file of this workspace, like those of steps that ran here."""
        if not digest:
            return
        try:
            open_log(log).close()
            self.store.remote.fetch(digest, log)
        except (OSError, BuildsysError, RemoteFailure, Damaged):
            log.unlink(missing_ok=True)

    def _note_refusal(self, step: Step, worker: str, why: str) -> None:
        """It is said once; that worker gets no other step in this run."""
        if worker not in self._refusals:
            self._refusals[worker] = why
            self.runner.say(f"worker {worker} refused {self.runner.name(step)}: {why}")


def _died(step: Step, workers: list[str]) -> StepFailed:
    """A step that ends the machines it runs on; `workers`: those that had begun it."""
    count = "two workers" if len(workers) == MOST_DEATHS + 1 else "workers"
    names = f" ({', '.join(workers)})" if workers else ""
    return StepFailed(
        f"{step.stage} ({step.module}) failed: {count} died while they ran it{names}; the machines may"
        " have run out of memory. The logs are on those machines.",
        detail=f"{count} died",
    )
