"""Handles a worker's orders with the worker's own catalogue, code and locks, and replies.

Before a step starts, the order is compared with this machine's code: the same step with the same
code, tools and inputs has the same action key. Any difference is refused with a sentence.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from buildsys.errors import BuildsysError, InternalError, MissingBytes, StepFailed
from buildsys.execution.cluster import placement, unfinished_trainings
from buildsys.execution.cluster.orders import (
    Answer,
    Begun,
    Event,
    Failed,
    InputsLost,
    Message,
    Order,
    Refused,
    Reply,
    Reported,
    Undelivered,
    WireInput,
    check_places,
    given_output,
    line_of,
    outputs_of,
    text_of,
)
from buildsys.execution.places import Workspace
from buildsys.execution.running import process
from buildsys.execution.running.admission import Admission
from buildsys.execution.running.runner import EnsureEnv, Runner
from buildsys.execution.state.action_keys import make_key
from buildsys.execution.state.completed_plans import complete_step
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.fingerprint import look_at_package
from buildsys.execution.store.action_entry import ActionEntry, machine_of
from buildsys.execution.store.remote import Remote, signing_key
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore, require_shared
from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Input, Step, StepResult
from buildsys.operating_system import platform_name
from buildsys.registry import PACKAGE, StepDefinition, get_step, new_step
from buildsys.typed_json import decode, read

Send = Callable[[Event], None]
_LOOK_EVERY_SECONDS = 2.0
"""Seconds between checks whether the worker's own files have changed."""


class _Difference(Exception):
    """The sentence that says why an order does not suit this machine and this buildsys."""


class OrderStore(SharedStore):
    """The store of one order; its result is uploaded before the reply."""

    def publish(self, entry: ActionEntry) -> None:
        """Does nothing: `OrderHandler` uploads the result and waits for that."""

    def has_result(self, key: str) -> bool:
        """Return whether this machine alone has what an action made."""
        return self._is_whole_here(key)


class OrderHandler:
    """The resources of a worker: a folder, and a store with the remote store behind it."""

    pauses: tuple[float, ...] = (0.0, 5.0, 30.0)
    """Seconds before each attempt to upload a result: a lost connection may come back."""

    def __init__(
        self,
        workspace: Workspace,
        store: Callable[[], OrderStore],
        name: str,
        labels: frozenset[str],
        trusts_code: bool,
        ensure: EnsureEnv = environments.ensure,
    ) -> None:
        """`store`: makes the store of an order.

        `labels`: from the command line; `trusts_code`: whether checkpoints may run code here.
        """
        self.trusts_code = trusts_code
        self.workspace, self.store, self.name, self.labels = workspace, store, name, labels
        self.ensure = ensure
        self.database = Database(workspace.state / "state.sqlite")
        self.admission = Admission()
        self._before: Remote | None = None
        """The remote store's state after the previous order."""
        self._proofs: set[str] = set()
        """Runs whose remote store is the same as this worker's."""
        self._package, self._looked = look_at_package(PACKAGE), time.monotonic()
        self._is_changed = False
        self._warned = False
        self._accepting = threading.Lock()
        """CPython's parser may count wrongly when two threads use it ("AST constructor recursion
        depth mismatch"), and code digests are made from syntax trees.
        """

    def handle(self, order: Order, send: Send, run: process.CommandRunner) -> Reply:
        """Carry out one order, from its inputs in the remote store to its outputs there.

        `send` gets events meanwhile; `run` starts the step's process.
        """
        try:
            with self._accepting:
                step = self._accept(order)
        except _Difference as difference:
            return self._refused(str(difference))
        store = self.store()
        if self._before is not None:
            store.remote.go_on_from(self._before)
        store.print_line = lambda text: send(
            Message(key=order.key, worker=self.name, text=line_of(text))
        )
        if store.remote.settings.url != order.remote:
            return self._refused(
                f"its remote store is {store.remote.settings.url}, not {order.remote}"
            )
        try:
            return self._carry_out(order, step, store, send, run)
        finally:
            store.print_line = _ignore  # transfers of one order are not the run's
            store.finish_run()
            self._before = store.remote

    def _carry_out(
        self, order: Order, step: Step, store: OrderStore, send: Send, run: process.CommandRunner
    ) -> Reply:
        """Run the step of an order that was accepted."""
        refusal = self._refuse_store(order, store)
        if refusal is not None:
            return refusal
        state = State((), self.database, store)
        for item in order.inputs:
            state.add_known(*_given(order, item))
        state.include(step)
        began: list[str] = []

        def run_step(command: process.Command, on_progress: process.OnProgress) -> int:
            began.append(step.id)
            return run(command, on_progress)

        runner = Runner(self.workspace, state, store.print_line, run_step, self.ensure)
        runner.admission, runner.warned = self.admission, self._warned
        self._warned = True
        try:
            self._look_up(store, step, order.key)
            result = self._execute(order, step, store, runner, send)
        except (RemoteFailure, BuildsysError) as error:
            return self._reply_to(error, order, store, runner, has_begun=bool(began))
        return self._deliver(order, step, state, runner, made=result is not None)

    def _refuse_store(self, order: Order, store: OrderStore) -> Reply | None:
        """Return a reply where the remote store is not that of the order's sender, or cannot be
        used, or its sender would not accept what this worker signs.
        """
        try:
            signing_key(replace(store.settings, trusted=order.trusted or store.settings.trusted))
        except BuildsysError as error:
            return self._refused(f"{error} (on the worker)")
        try:
            require_shared(store, writes=True)
            if not store.remote.is_connected:
                store.remote.prove_writing()
            if order.proof not in self._proofs:
                if store.remote.size(order.proof) is None:
                    return InputsLost(blobs=(order.proof,), worker=self.name)
                self._proofs.add(order.proof)
        except (BuildsysError, RemoteFailure) as error:
            if store.has_result(order.key):
                return Undelivered(why=line_of(str(error)), worker=self.name)
            return self._refused(str(error), lacks_store=True)
        return None

    def _execute(
        self, order: Order, step: Step, store: OrderStore, runner: Runner, send: Send
    ) -> StepResult | None:
        """Run the step, and report its beginning and progress; a training's files are also kept in
        the remote store while it runs.
        """

        def report(done: float, total: float, unit: str, note: str) -> None:
            unit, note = line_of(unit), line_of(note)
            send(Reported(key=order.key, done=done, total=total, unit=unit, note=note))

        with contextlib.ExitStack() as held:

            def start() -> None:
                send(Begun(key=order.key, worker=self.name))
                if step.trains:
                    self._go_on(store, step, order.key)
                    scratch = self.workspace.scratch / order.key
                    held.enter_context(
                        unfinished_trainings.kept(
                            store.settings, step, order.key, scratch, store.print_line
                        )
                    )

            return runner.execute(step, start, report)

    def _reply_to(
        self,
        error: RemoteFailure | BuildsysError,
        order: Order,
        store: OrderStore,
        runner: Runner,
        *,
        has_begun: bool,
    ) -> Reply:
        """Return the reply to an order whose step could not be made."""
        if not has_begun and not store.remote.reads:
            why = f"{store.remote.settings.url} can no longer be read"
            return self._refused(why, lacks_store=True)
        if isinstance(error, MissingBytes):
            lost = {blob for i in order.inputs for blob in store.missed(i.digest, i.tree)}
            if lost:
                return InputsLost(blobs=tuple(sorted(lost)), worker=self.name)
        refused = isinstance(error, StepFailed) and error.refused
        return self._failed(store, runner.log(order.key), str(error), refused)

    def _go_on(self, store: OrderStore, step: Step, key: str) -> None:
        """Continue a training from the files of another worker."""
        if unfinished_trainings.take_up(store.remote, step, key, self.workspace.scratch / key):
            store.print_line(f"{step.stage} continues the work of another worker")

    def _look_up(self, store: OrderStore, step: Step, key: str) -> None:
        """Fetch the remote store's result of this action; it counts only when its bytes have
        arrived.

        The sender of the order may not have found it.
        """
        store.look_up([(key, machine_of(step))])
        known = store.recall(key)
        for output in known.outputs if known is not None else ():
            with contextlib.suppress(FileNotFoundError):
                store.bring(output.digest, output.tree)

    def close(self) -> None:
        """Accept no more orders."""
        self.database.close()

    def _accept(self, order: Order) -> Step:
        """Return the step of an order according to this machine's catalogue. Raises _Difference."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_SECONDS:
            self._looked = time.monotonic()
            self._is_changed |= look_at_package(PACKAGE) != self._package
        if self._is_changed:  # a step would run code that this process has not read
            raise _Difference(
                "its buildsys changed since the worker was started: restart the worker"
            )
        try:
            definition = get_step(order.module)
        except LookupError:
            raise _Difference(f"its buildsys has no step {order.module}; {_SAME}") from None
        try:
            step = _step(order, definition)
            is_local = placement.needs_of(step, platform_name()) is None
        except (ValueError, LookupError, InternalError) as error:
            raise _Difference(
                f"its {order.module} has different parameters ({error}); {_SAME}"
            ) from None
        if is_local:
            raise _Difference(f"{order.module} can only run on the machine that plans it")
        try:
            check_places(order, definition)
        except ValueError as error:
            raise _Difference(f"its {order.module} {error}; {_SAME}") from None
        if order.trusts_code and not self.trusts_code:
            raise _Difference(
                "it does not run code of checkpoints: `buildsys worker --trust code` allows what the recipe's"
                " `trust: code` requests"
            )
        if step.code != order.code:
            raise _Difference(f"its code of {order.module} differs; {_SAME}")
        if step.tool_identity != order.tool_identity:
            raise _Difference(f"its lock of {step.tool_env} differs; {_SAME}")
        if make_key(step, [(item.name, item.digest) for item in order.inputs]).key != order.key:
            raise _Difference(f"its action key of {order.stage} differs; {_SAME}")
        if placement.label_of(step.requires) not in self.labels:
            missing = missing_here(step)
            if missing:
                raise _Difference(f"it does not have {', '.join(missing)}")
        return step

    def _deliver(self, order: Order, step: Step, state: State, runner: Runner, made: bool) -> Reply:
        """Upload the result, its entry last; failed uploads are repeated."""
        result, entry = state.result(step.id), state.store.recall(order.key)
        assert result is not None
        assert entry is not None
        why, log = "", ""
        for pause in self.pauses:
            time.sleep(pause)
            store = (
                self.store() if why else state.store
            )  # a remote that has failed gets no more requests
            assert isinstance(store, OrderStore)
            if why:
                store.print_line = _ignore
            try:
                log = _keep_log(store, runner.log(order.key)) if made else ""
                store.push(entry)
                if step.trains:
                    unfinished_trainings.drop(store.remote, step, order.key)
                break
            except (RemoteFailure, BuildsysError, FileNotFoundError) as failure:
                why = str(failure)
            finally:
                if store is not state.store:
                    store.finish_run()
        else:
            return Undelivered(why=line_of(why), worker=self.name)
        return Answer(
            outputs=result.outputs,
            seconds=result.seconds,
            passed=result.passed,
            made=made,
            worker=self.name,
            variant=line_of(runner.variants.get(step.tool_env, "")),
            isolation=line_of(runner.isolations.get(step.id, "")),
            diary=tuple((line_of(name), text_of(text)) for name, text in entry.diary),
            log=log,
        )

    def _refused(self, why: str, lacks_store: bool = False) -> Refused:
        return Refused(why=line_of(why), worker=self.name, lacks_store=lacks_store)

    def _failed(self, store: SharedStore, log: Path, text: str, refused: bool) -> Failed:
        return Failed(
            text=text_of(text),
            worker=self.name,
            log=_keep_log(store, log),
            place=line_of(str(log)),
            refused=refused,
        )


def written_store(store: Store) -> SharedStore:
    """Return the store after a test upload to its remote.

    Raises BuildsysError where there is no writable remote: a cluster exchanges its files through
    it.
    """
    try:
        found = require_shared(store, writes=True)
        found.remote.prove_writing()
    except BuildsysError as error:
        message = "a cluster needs a writable remote store, through which it exchanges files"
        raise BuildsysError(f"{message}: {error}") from error
    return found


_SAME = "install the same buildsys on the worker"


def _ignore(text: str) -> None:
    pass


def _given(order: Order, item: WireInput) -> tuple[Step, StepResult]:
    """Return an input as a step that ran elsewhere, with its result."""
    output = given_output(item)
    step = Step(
        id=_given_id(order, item),
        stage=item.name,
        module="",
        params="{}",
        inputs=(),
        outputs=(output,),
        code="",
        tool_env="",
        tool="",
        tool_identity="",
        memory_mib=0,
        threads=0,
        gpu=False,
        device="auto",
        origins=(),
    )
    return step, StepResult(outputs=((output.name, item.digest),), seconds=0.0)


def _given_id(order: Order, item: WireInput) -> str:
    return f"{order.key[:32]}/{item.name}"


def _step(order: Order, definition: StepDefinition) -> Step:
    """Return the step of an order with this machine's code and tools.

    Raises ValueError, LookupError, InternalError for parameters that no plan can have.
    """
    params = decode(definition.params, read(order.params))
    return complete_step(
        new_step(
            definition,
            params,
            order.params,
            step_id=order.key[:32],
            stage=order.stage,
            inputs=tuple(_input(order, item) for item in order.inputs),
            outputs=outputs_of(order),
            device=order.device,
            trusts_code=order.trusts_code,
            holds_objects=order.holds_objects,
        )
    )


def _input(order: Order, item: WireInput) -> Input:
    return Input(name=item.name, step=_given_id(order, item), output=given_output(item).name)


def _keep_log(store: SharedStore, log: Path) -> str:
    """Upload a log and return its digest; empty without a log."""
    with contextlib.suppress(OSError, BuildsysError, RemoteFailure):
        digest = store.put_file(log)
        store.push_blobs(digest, tree=False)
        return digest
    return ""
