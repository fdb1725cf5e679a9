"""A worker's work: an order in, by its own catalogue, code and locks; a reply out.

An order is compared with this machine's own code before anything begins: the same step of the same
code, tools and inputs has the same action key, and any difference is refused in a sentence.
"""

import contextlib
import threading
import time
from collections.abc import Callable
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
from buildsys.execution.state.database import Database
from buildsys.execution.state.decide import State
from buildsys.execution.state.fingerprint import look_at_package
from buildsys.execution.state.plans import complete_step
from buildsys.execution.store.action_entry import ActionEntry, machine_of
from buildsys.execution.store.remote import Remote
from buildsys.execution.store.remote_failure import RemoteFailure
from buildsys.execution.store.shared_store import SharedStore, require_shared
from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from buildsys.execution.tools.requirements import missing_here
from buildsys.graph import Input, Step, StepResult
from buildsys.operating_system import host_name
from buildsys.registry import PACKAGE, StepDefinition, get_step, new_step
from buildsys.typed_json import decode, read

Send = Callable[[Event], None]
_LOOK_EVERY_SECONDS = 2.0
"""How often a worker looks whether its own files are what they were."""


class _Difference(Exception):
    """An order that is not for this machine and this buildsys, in a sentence."""


class OrderStore(SharedStore):
    """The store of one order, whose result is put into the remote before the reply."""

    def publish(self, entry: ActionEntry) -> None:
        """Nothing: `OrderHandler` puts it there, and waits for that."""

    def has_result(self, key: str) -> bool:
        """Whether this machine alone has what an action made."""
        return self._is_whole_here(key)


class OrderHandler:
    """What a worker has for its orders: a folder, a store of its own with the remote one behind it."""

    pauses: tuple[float, ...] = (0.0, 5.0, 30.0)
    """Seconds before each try to put a result into the remote store: a connection that was cut comes back."""

    def __init__(
        self,
        workspace: Workspace,
        store: Callable[[], OrderStore],
        name: str,
        labels: frozenset[str],
        trusts_code: bool,
        ensure: EnsureEnv = environments.ensure,
    ) -> None:
        """`store`: makes the one of an order; `labels`: what a person says that this machine has;
        `trusts_code`: whether checkpoints may run code here.
        """
        self.trusts_code = trusts_code
        self.workspace, self.store, self.name, self.labels = workspace, store, name, labels
        self.ensure = ensure
        self.database = Database(workspace.state / "state.sqlite")
        self.admission = Admission()
        self._before: Remote | None = None
        """The remote store as the order before found it."""
        self._proofs: set[str] = set()
        """Of runs whose remote store is that of here."""
        self._package, self._looked = look_at_package(PACKAGE), time.monotonic()
        self._is_changed = False
        self._warned = False
        self._accepting = threading.Lock()
        """CPython's parser may count wrongly where two threads use it: "AST constructor recursion depth
        mismatch", and code digests are made of syntax trees."""

    def handle(self, order: Order, send: Send, run: process.CommandRunner) -> Reply:
        """One order from its inputs in the remote store to its outputs there.

        `send` gets what happens meanwhile; `run` starts the step's process.
        """
        try:
            with self._accepting:
                step = self._accept(order)
        except _Difference as difference:
            return self._refused(str(difference))
        store = self.store()
        if self._before is not None:
            store.remote.go_on_from(self._before)
        store.say = lambda text: send(Message(key=order.key, worker=self.name, text=line_of(text)))
        if store.remote.settings.url != order.remote:
            return self._refused(
                f"its remote store is {store.remote.settings.url}, not {order.remote}"
            )
        try:
            return self._make(order, step, store, send, run)
        finally:
            store.say = _ignore  # transfers of one order are not the run's
            store.finish_run()
            self._before = store.remote

    def _make(
        self, order: Order, step: Step, store: OrderStore, send: Send, run: process.CommandRunner
    ) -> Reply:
        """The step of an order, once it is known to be that of here."""
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
        state = State((), self.database, store)
        for item in order.inputs:
            state.know(*_given(order, item))
        state.include(step)
        began: list[str] = []

        def run_step(command: process.Command, on_progress: process.OnProgress) -> int:
            began.append(step.id)
            return run(command, on_progress)

        runner = Runner(self.workspace, state, store.say, run_step, self.ensure)
        runner.admission, runner.warned = self.admission, self._warned
        self._warned = True
        log = runner.log(order.key)
        try:
            self._look_up(store, step, order.key)
            with contextlib.ExitStack() as held:

                def start() -> None:
                    send(Begun(key=order.key, worker=self.name))
                    if step.trains:
                        self._go_on(store, step, order.key)
                        scratch = self.workspace.scratch / order.key
                        held.enter_context(
                            unfinished_trainings.kept(store.settings, step, order.key, scratch)
                        )

                result = runner.execute(
                    step,
                    start,
                    lambda done, total, unit, note: send(
                        Reported(
                            key=order.key,
                            done=done,
                            total=total,
                            unit=line_of(unit),
                            note=line_of(note),
                        )
                    ),
                )
        except (RemoteFailure, BuildsysError) as error:
            if not began and not store.remote.reads:
                why = f"{store.remote.settings.url} can no longer be read"
                return self._refused(why, lacks_store=True)
            if isinstance(error, MissingBytes):
                lost = {blob for i in order.inputs for blob in store.missed(i.digest, i.tree)}
                if lost:
                    return InputsLost(blobs=tuple(sorted(lost)), worker=self.name)
            refused = isinstance(error, StepFailed) and error.refused
            return self._failed(store, log, str(error), refused)
        return self._deliver(order, step, state, runner, made=result is not None)

    def _go_on(self, store: OrderStore, step: Step, key: str) -> None:
        """A training goes on where another worker was."""
        if unfinished_trainings.take_up(store.remote, step, key, self.workspace.scratch / key):
            store.say(f"{step.stage} continues the work of another worker")

    def _look_up(self, store: OrderStore, step: Step, key: str) -> None:
        """What the remote store says that this action made counts when its bytes came: whoever sends the
        order may have missed them.
        """
        store.look_up([(key, machine_of(step))])
        known = store.recall(key)
        for output in known.outputs if known is not None else ():
            with contextlib.suppress(FileNotFoundError):
                store.bring(output.digest, output.tree)

    def close(self) -> None:
        """No more orders."""
        self.database.close()

    def _accept(self, order: Order) -> Step:
        """The step of an order, as this machine's own catalogue says it. Raises _Difference."""
        if time.monotonic() - self._looked >= _LOOK_EVERY_SECONDS:
            self._looked = time.monotonic()
            self._is_changed |= look_at_package(PACKAGE) != self._package
        if self._is_changed:  # a step would run other code than is known here
            raise _Difference(
                "its buildsys changed since the worker was started: restart the worker"
            )
        try:
            definition = get_step(order.module)
        except LookupError:
            raise _Difference(f"its buildsys has no step {order.module}; {_SAME}") from None
        try:
            step = _step(order, definition)
            is_local = placement.needs_of(step, host_name()) is None
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
                " `trust: code` asks for"
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
        """The result into the remote store, the entry last; tried again where that fails."""
        result, entry = state.result(step.id), state.store.recall(order.key)
        assert result is not None
        assert entry is not None
        why, log = "", ""
        for pause in self.pauses:
            time.sleep(pause)
            store = (
                self.store() if why else state.store
            )  # one that has failed is not asked any more
            assert isinstance(store, OrderStore)
            if why:
                store.say = _ignore
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
    """The store, whose remote one has taken what was put there. Raises BuildsysError where there is none
    that does: a cluster's files go through it.
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
    """An input as a step that ran somewhere else, and what it made there."""
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
        framework=False,
        gpu=False,
        device="auto",
        origins=(),
    )
    return step, StepResult(outputs=((output.name, item.digest),), seconds=0.0)


def _given_id(order: Order, item: WireInput) -> str:
    return f"{order.key[:32]}/{item.name}"


def _step(order: Order, definition: StepDefinition) -> Step:
    """The step of an order, as this machine's code and tools make it. Raises ValueError, LookupError,
    InternalError for parameters that no plan has.
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
    """The digest of a log that is in the remote store now; empty where there is none."""
    with contextlib.suppress(OSError, BuildsysError, RemoteFailure):
        digest = store.put_file(log)
        store.push_blobs(digest, tree=False)
        return digest
    return ""
