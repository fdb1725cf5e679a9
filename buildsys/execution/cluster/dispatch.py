"""Sends a run's steps to workers: inputs to the remote store, orders out, results from replies.

Imported when the first step is sent.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from buildsys.errors import BuildsysError, Interrupted, MissingBytes, StepFailed
from buildsys.execution.cluster import placement
from buildsys.execution.cluster.answers import Answers
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
from buildsys.execution.cluster.waiting_limit import Patience
from buildsys.execution.running import process
from buildsys.execution.running.runner import Runner, describe_change
from buildsys.execution.state.action_keys import ActionKey
from buildsys.execution.state.step_outputs import is_checked
from buildsys.execution.store.action_entry import blob_name
from buildsys.execution.store.remote_failure import Damaged, RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.execution.store.tree_index import encode_index
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Input, Output, Step, StepResult

_LOOK_SECONDS = 0.5
"""Seconds between two looks at the workers, while a step waits for one or for its reply."""
_DELIVERY_PAUSES = (5.0, 30.0, 60.0)
"""Seconds before a worker is asked again for a result that it could not upload."""
_MOST_REFUSALS = 20
"""Orders of one step that were refused, or whose reply could not be used."""
_MOST_SENT_AGAIN = 3
"""Rounds in which inputs of one step are uploaded again, beside one for each of its inputs."""
_MOST_LOST = 5
"""Rounds of deaths after which a step that nobody started fails."""


_ALL_EXCLUDED = "the connected workers that fit get no more steps in this run"


class NoWorkerFits(Exception):
    """No worker met a step's requirements for the time limit, or none can get its inputs."""


class _StepEvents:
    """Events of a step that its worker reports."""

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
        """Workers that started it, in order."""
        self.unanswered: list[str] = []
        """Those of them whose reply did not come, in order."""

    def on_event(self, event: Event) -> None:
        """Handle one event, in the thread of the connection."""
        if isinstance(event, Begun):
            first = not self.begun
            self.begun.append(event.worker)
            self.unanswered.append(event.worker)
            self._runner.workers[self._step.id] = event.worker
            if first:
                self._on_start()
            else:
                self._runner.print_line(
                    f"{self._runner.name(self._step)} begins again on {event.worker}"
                )
        elif isinstance(event, Reported):
            self._on_progress(event.done, event.total, event.unit, event.note)
        else:
            self._runner.print_line(
                f"{self._runner.name(self._step)} on {event.worker}: {event.text}"
            )

    def note_reply(self, worker: str) -> None:
        """Record that a worker has replied: it did not die with the step."""
        if worker in self.unanswered:
            self.unanswered.remove(worker)


@dataclass(kw_only=True)
class _Sending:
    """One step on its way to workers: what happened to it so far."""

    step: Step
    action_key: ActionKey
    needs: Needs
    order: Order
    events: _StepEvents
    attempt: int = 0
    """Orders without a usable reply; part of the next order's identity."""
    deaths: int = 0
    """Times that workers died with it."""
    refusals: int = 0
    """Orders that were refused, or whose reply could not be used."""
    holders: list[str] = field(default_factory=list)
    """Workers that have its result and could not upload it, in order."""
    blobs_again: set[str] = field(default_factory=set)
    """Inputs that were uploaded again."""
    rounds_again: int = 0
    """Rounds in which inputs were uploaded again."""


class Dispatch:
    """Sends the steps of one run to the workers of a scheduler."""

    def __init__(
        self,
        runner: Runner,
        patience: Patience,
        connection: SchedulerConnection,
        store: SharedStore,
    ) -> None:
        """`runner`: this machine's, for the steps' inputs, logs and names."""
        self.runner, self.patience = runner, patience
        self.connection, self.store = connection, store
        self._is_store_lost = False
        """Whether uploads to the remote store have failed for good."""
        self._reported_left_out: set[str] = set()
        self._reported_excluded = False
        self._gone: set[str] = set()
        self._proof = store.put_bytes(os.urandom(32))
        """The digest of random bytes that this run has uploaded: a worker that cannot read them
        reads another store.
        """
        store.push_blobs(self._proof, tree=False)
        self._excluded: set[str] = set()
        """Workers that refused a step, or whose reply could not be used: they get no more steps in
        this run.
        """
        self._answers = Answers(runner, store, partial(self._exclude, is_refusal=False))

    def close(self) -> None:
        """End the run's connection."""
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
        """Return the result of a step on a worker; None where it existed already.

        Raises NoWorkerFits, StepFailed, MissingBytes, Interrupted.
        """
        if not self._answers.drop_unreadable(step, action_key.key):
            raise NoWorkerFits
        try:
            self._await_worker(step, needs)  # inputs are uploaded only if a worker can take them
            sending = _Sending(
                step=step,
                action_key=action_key,
                needs=needs,
                order=self._order(step, action_key),
                events=_StepEvents(self.runner, step, on_start, on_progress),
            )
            while sending.refusals < _MOST_REFUSALS:
                reply = self._ask(sending)
                found = self._checked_answer(sending, reply) if reply is not None else None
                if found is not None:
                    return self._answers.take(step, action_key, found, sending.events.begun)
                sending.attempt += 1
            raise NoWorkerFits
        except NoWorkerFits:
            if self.connection.is_lost:  # then the run is over, and nothing more starts here
                raise self._interrupted() from None
            raise
        except SchedulerLost:
            raise self._interrupted() from None

    def _interrupted(self) -> Interrupted:
        return Interrupted(f"the scheduler at {self.connection.address} is gone")

    def _ask(self, sending: _Sending) -> Reply | None:
        """Return a worker's reply to the order; None where the worker is gone.

        Raises NoWorkerFits, SchedulerLost, StepFailed.
        """
        step, events = sending.step, sending.events
        fitting = self._await_worker(step, sending.needs)
        holding = [place for place in fitting if place.name in sending.holders[-1:]]
        fitting = holding or fitting
        asked = placement.request(step, sending.needs, fitting)
        is_restricted = bool(holding or self._excluded or self.connection.left_out)
        only = tuple(place.address for place in fitting) if is_restricted else ()
        reply = None
        try:
            with self.connection.ordered(
                sending.order, asked, only, events.on_event, sending.attempt
            ) as ordered:
                reply = self._await_reply(ordered, asked, only, events)
        except WorkersDied:
            sending.deaths += 1
            if len(events.unanswered) > MOST_DEATHS or sending.deaths == _MOST_LOST:
                raise _died(step, events.unanswered) from None
        if reply is not None:
            events.note_reply(reply.worker)
        self._print_gone(events.unanswered)
        return reply

    def _checked_answer(self, sending: _Sending, reply: Reply) -> Answer | None:
        """Return the answer that can be used; None where the step must be sent again.

        Raises NoWorkerFits, StepFailed.
        """
        step, action_key = sending.step, sending.action_key
        refusal: str | None = None
        fault = ""
        match reply:
            case Refused():
                if reply.lacks_store:
                    self._require_store()
                refusal = reply.why
            case InputsLost():
                if self._reads_another_store(reply):
                    refusal = (
                        f"{self.store.settings.url} is another store there than here: look at"
                        " `endpoint` of `remote`, and at what is mounted"
                    )
                else:
                    fault = self._send_again(sending, reply)
            case Undelivered():
                sending.holders.append(reply.worker)
                rounds = sending.holders.count(reply.worker) - 1
                refusal = None if self._await_delivery(step, reply, rounds) else reply.why
            case Answer():
                found = self._check(step, action_key, reply)
                if isinstance(found, Answer):
                    return found
                fault = found
            case Failed():
                raise self._answers.failure(action_key, reply)
        if refusal is not None:
            self._exclude(step, reply.worker, refusal, is_refusal=True)
            sending.refusals += 1
        elif fault:
            self._exclude(step, reply.worker, fault, is_refusal=False)
            sending.refusals += 1
        return None

    def _check(self, step: Step, action_key: ActionKey, reply: Answer) -> Answer | str:
        """Return the answer as it is used, or what is wrong with it. Raises NoWorkerFits."""
        try:
            return self._answers.check(step, action_key, reply)
        except RemoteFailure as failure:
            self._require_store()
            raise NoWorkerFits from failure

    def _print_gone(self, workers: list[str]) -> None:
        """Print, once for each, which of the workers that have started a step are gone."""
        if not workers:
            return
        there = {place.name for place in self.connection.places()}
        for worker in dict.fromkeys(workers):
            if worker not in self._gone and worker not in there:
                self._gone.add(worker)
                self.runner.print_line(f"worker {worker} is gone")

    def _await_worker(self, step: Step, needs: Needs) -> list[Place]:
        """Return the workers that meet the requirements, once there are any.

        Raises NoWorkerFits.
        """
        patience = self.patience
        while True:
            connected = self.connection.places()
            places = [place for place in connected if place.name not in self._excluded]
            for address in self.connection.left_out.keys() - self._reported_left_out:
                self._reported_left_out.add(address)
                self.runner.print_line(self.connection.left_out[address])
            fitting = [place for place in places if placement.fits(needs, place.has)]
            if self._is_store_lost or not self.store.remote.writes:
                raise NoWorkerFits
            if places:
                patience.note_there({})
            if fitting:
                patience.note_there(needs)
                return fitting
            if not missing_here(step) and self._are_excluded(needs, connected):
                raise NoWorkerFits
            # without any worker, all steps share one time limit and one printed line
            missed = needs if places else {}
            if patience.begin(missed):
                without = _ALL_EXCLUDED if connected else "none is connected"
                self.runner.print_line(
                    f"{self.runner.name(step)} waits for a worker: {placement.described(missed) or without}"
                    f" (at most {self.patience.seconds:g} s)"
                )
            if patience.is_over(missed):
                raise NoWorkerFits
            time.sleep(min(_LOOK_SECONDS, self.patience.seconds))

    def _are_excluded(self, needs: Needs, connected: tuple[Place, ...]) -> bool:
        """Return whether the workers that meet the requirements get no more steps; prints it once.

        It is pointless to wait for them: a step that this machine can run runs here.
        """
        if not any(placement.fits(needs, place.has) for place in connected):
            return False
        if not self._reported_excluded:
            self._reported_excluded = True
            self.runner.print_line(f"{_ALL_EXCLUDED}: steps run here")
        return True

    def _await_reply(
        self, ordered: Ordered, asked: Needs, only: tuple[str, ...], events: _StepEvents
    ) -> Reply | None:
        """Wait for the reply to an order; None where no worker is left that could take it."""
        while True:
            reply = ordered.reply(_LOOK_SECONDS)
            if reply is not None:
                return reply
            self._print_gone(events.unanswered)
            if not any(
                placement.can_take(asked, place.has)
                for place in self.connection.places()
                if not only or place.address in only
            ):
                return None

    def _order(self, step: Step, action_key: ActionKey) -> Order:
        """Return the order for a step, after uploading its inputs."""
        self.runner.check_sources(step, action_key)
        return Order(
            key=action_key.key,
            stage=step.stage,
            module=step.module,
            params=step.params,
            device=step.device,
            trusts_code=step.trusts_code,
            holds_objects=step.holds_objects,
            inputs=tuple(self._send(item, action_key) for item in step.inputs),
            outputs=wire_outputs(step),
            code=step.code,
            tool_identity=step.tool_identity,
            remote=self.store.remote.settings.url,
            proof=self._proof,
            trusted=self.store.settings.trusted,
        )

    def _send(self, item: Input, action_key: ActionKey) -> WireInput:
        """Return an input after uploading its bytes.

        Raises MissingBytes, StepFailed, NoWorkerFits.
        """
        digest, store = dict(action_key.inputs)[item.name], self.store
        if item.source is None:
            output = self._output(item)
            tree, suffix = output.tree, output.suffix
        else:
            tree, suffix = bool(item.source.parts), Path(item.source.path).suffix
            self._keep_source(item, digest, tree)
        try:
            store.push_blobs(digest, tree)
            if item.source is None:
                self._check_figures(item, digest)
        except (Damaged, FileNotFoundError) as error:
            if item.source is None:
                raise MissingBytes(item.step) from error
            raise StepFailed(f"{item.source.name} does not exist here or in any store") from error
        except RemoteFailure as failure:  # the store has printed it
            raise NoWorkerFits from failure
        return WireInput(
            name=item.name, digest=digest, tree=tree, suffix=suffix, role=role_of(item)
        )

    def _output(self, item: Input) -> Output:
        """Return the output of an earlier step that is an input."""
        outputs = self.runner.state.steps[item.step].outputs
        return next(output for output in outputs if output.name == item.output)

    def _check_figures(self, item: Input, digest: str) -> None:
        """Raise MissingBytes if an input is figures that cannot be read: a worker that gets them
        cannot make them again.

        Raises Damaged, FileNotFoundError, RemoteFailure.
        """
        store, output = self.store, self._output(item)
        if not is_checked(output, 0):
            return
        size = store.size(digest) or store.remote.size(digest)
        if size is not None and is_checked(output, size):
            store.bring_new(digest, size)
            self.runner.state.check(item.step, item.output)

    def _reads_another_store(self, reply: InputsLost) -> bool:
        """Return whether the worker reads another store: it lacks this run's proof, which is there.

        A lost proof is uploaded again. Raises NoWorkerFits.
        """
        if self._proof not in reply.blobs:
            return False
        try:
            if self.store.remote.size(self._proof) is not None:
                return True
            self.store.note_unusable([self._proof])
            self.store.push_blobs(self._proof, tree=False)
        except (RemoteFailure, FileNotFoundError) as failure:
            self._require_store()
            raise NoWorkerFits from failure
        return False

    def _send_again(self, sending: _Sending, reply: InputsLost) -> str:
        """Upload inputs again that, according to a worker, the remote store has lost or damaged.

        Returns what is wrong with that report, if anything. Raises like `_send`.
        """
        store, step, order = self.store, sending.step, sending.order
        reported = set(reply.blobs)
        blobs = {item.name: self._blobs_of(item, reported) for item in order.inputs}
        if not reported or reported - {self._proof}.union(*blobs.values()):
            return "it reports files as lost that are not inputs of the step"
        lost = reported - sending.blobs_again
        try:
            read = reported - {self._proof}  # `_reads_another_store` has looked for the proof
            if not lost and read and None not in store.remote.each(store.remote.size, read):
                return "it reports files as lost or damaged that were uploaded again and are there"
            if lost and sending.rounds_again == _MOST_SENT_AGAIN + len(step.inputs):
                return "it reports more files as lost each time"
            if not lost:
                self.runner.print_line(
                    f"{store.settings.url} loses uploaded files; {self.runner.name(step)} runs here"
                )
                raise NoWorkerFits
            sending.rounds_again += 1
            sending.blobs_again |= lost
            for item, sent in zip(step.inputs, order.inputs, strict=True):
                doubted = blobs[sent.name] & lost
                if doubted:
                    self.runner.print_line(
                        f"worker {reply.worker} finds `{item.name}` of {self.runner.name(step)} lost or"
                        f" damaged in {store.settings.url}: it is uploaded again"
                    )
                    store.mark_unreadable(sent.digest, doubted)
        except RemoteFailure as failure:
            self._require_store()
            raise NoWorkerFits from failure
        for item in step.inputs:
            self._send(item, sending.action_key)
        return ""

    def _blobs_of(self, item: WireInput, reported: set[str]) -> set[str]:
        """Return the blobs of an input; if a tree's index is lost, any reported blob may be one of
        its files.
        """
        if not item.tree:
            return {item.digest}
        try:
            return {item.digest, *(file.digest for file in self.store.index(item.digest))}
        except (OSError, BuildsysError):
            return {item.digest, *reported}

    def _await_delivery(self, step: Step, reply: Undelivered, rounds: int) -> bool:
        """Wait until the worker that has the result should be asked again; False if it was asked
        often enough.

        `rounds`: how often it was. Raises NoWorkerFits if uploads to the remote store have failed for good.
        """
        self.runner.print_line(
            f"{self.runner.name(step)} is done on {reply.worker}, and its result is not in the remote store yet:"
            f" {reply.why}"
        )
        self._require_store()
        if rounds == len(_DELIVERY_PAUSES):
            return False
        time.sleep(_DELIVERY_PAUSES[rounds])
        return True

    def _require_store(self) -> None:
        """Raise NoWorkerFits if this machine cannot upload either: no more steps are sent out."""
        try:
            self.store.remote.prove_writing()
        except BuildsysError as error:
            if not self._is_store_lost:
                self._is_store_lost = True
                self.runner.print_line(f"{error}; steps run here")
            raise NoWorkerFits from error

    def _keep_source(self, item: Input, digest: str, tree: bool) -> None:
        """Copy a source into the local store: workers cannot read folders of this machine."""
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
            raise StepFailed(f"{source.name} cannot be read: {error.strerror or error}") from error
        if found != digest:
            raise StepFailed(describe_change(source.name))

    def _exclude(self, step: Step, worker: str, why: str, *, is_refusal: bool) -> None:
        """Send a worker no more steps in this run, and print why, once.

        `why`: its reason to refuse the step, or what is wrong with its reply.
        """
        if worker not in self._excluded:
            self._excluded.add(worker)
            name = self.runner.name(step)
            what = f"refused {name}" if is_refusal else f"gets no more steps in this run: {name}"
            self.runner.print_line(f"worker {worker} {what}: {why}")


def _died(step: Step, workers: list[str]) -> StepFailed:
    """Return the error of a step that ends its workers; `workers`: those that had started it
    and did not reply.
    """
    name = f"{step.stage} ({step.module}) failed"
    if not workers:
        return StepFailed(
            f"{name}: its workers died before they started it. The logs are on those machines.",
            detail="workers died",
        )
    distinct = tuple(dict.fromkeys(workers))
    count = "two workers" if len(distinct) == 2 else "workers" if distinct[1:] else "a worker"
    again = "" if distinct[1:] else f" {len(workers)} times"
    return StepFailed(
        f"{name}: {count} died{again} while running it ({', '.join(distinct)});"
        " the machines may have run out of memory. The logs are on those machines.",
        detail=f"{count} died{again}",
    )
