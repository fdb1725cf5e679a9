"""A worker process: dask brings orders and takes replies; `run_order` does the work in between.

Imported by every process of dask: the worker, the scheduler and the coordinator, which name
`run_order`.
"""

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from distributed import Reschedule, Status, Worker, WorkerPlugin, get_worker

from buildsys.errors import CannotReach
from buildsys.execution import children, signals
from buildsys.execution.cluster import connections
from buildsys.execution.cluster.connections import explain_failure
from buildsys.execution.cluster.order_handler import OrderHandler, OrderStore, written_store
from buildsys.execution.cluster.orders import (
    EVENTS,
    Event,
    Failed,
    Refused,
    line_of,
    read_order,
    text_of,
    write_event,
    write_reply,
)
from buildsys.execution.cluster.placement import THREADS
from buildsys.execution.cluster.worker_labels import describe, find_labels
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running import process
from buildsys.execution.settings.stores import default_store
from buildsys.execution.unexpected import UNEXPECTED, explain
from buildsys.files import remove_tree
from buildsys.locks import locked

_PLUGIN = "buildsys"
_LOOK_EVERY_SECONDS = 0.25
"""Seconds between checks whether a running step is still wanted."""
_ANSWER_SECONDS = 20.0
_running: set[str] = set()
"""Keys of the orders that this process is working on."""


class OrderPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives `run_order` the handler of the worker that it runs in."""

    name = _PLUGIN

    def __init__(self, handler: OrderHandler) -> None:
        self.handler = handler

    def setup(self, worker: Worker) -> None:
        """Called by dask when the worker starts; does nothing."""


def run_order(text: str) -> str:
    """Carry out an order: JSON in, JSON out; nothing else runs on a worker."""
    worker = get_worker()
    plugin = worker.plugins.get(_PLUGIN)
    if not isinstance(plugin, OrderPlugin):  # a worker started by dask's own command
        return write_reply(
            Refused(why="it was not started by `buildsys worker`", worker=_name(worker))
        )
    try:
        order = read_order(text)
    except ValueError as error:
        why = line_of(
            f"it cannot read the order ({error}); install the same buildsys on the worker"
        )
        return write_reply(Refused(why=why, worker=_name(worker)))

    def send(event: Event) -> None:
        worker.log_event(EVENTS, write_event(event))

    cancellation = children.Cancellation()

    def run(command: process.Command, on_progress: process.OnProgress) -> int:
        return process.run_command(command, on_progress, cancellation)

    _running.add(order.key)
    try:
        with cancelled_when_unwanted(cancellation, _is_wanted(worker)):
            reply = plugin.handler.handle(order, send, run)
        if cancellation.requested:  # a coordinator that asked again meanwhile gets no reply
            raise Reschedule
        return write_reply(reply)
    except Reschedule:
        raise
    except UNEXPECTED as error:  # an exception would have to be unpickled by the coordinator
        text = text_of(explain(error, f"making {order.stage}", None))
        return write_reply(Failed(text=text, worker=_name(worker), log="", place="", refused=False))
    finally:
        _running.discard(order.key)


def _left() -> str:
    """Return the message about the work of a worker that a signal ends."""
    return "running steps start again on another machine" if _running else "no step was running"


def _name(worker: Worker) -> str:
    return str(worker.name)


def _is_wanted(worker: Worker) -> Callable[[], bool]:
    """Return a function that checks whether this thread's order is still wanted.

    It is not after Ctrl-C in the coordinator, or when the scheduler is gone.
    """
    key = worker.get_current_task()

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return (
            worker.status in (Status.running, Status.paused)
            and task is not None
            and task.state in ("executing", "resumed")
        )

    return is_wanted


@contextlib.contextmanager
def cancelled_when_unwanted(
    cancellation: children.Cancellation, is_wanted: Callable[[], bool]
) -> Iterator[None]:
    """Within the block, cancel a step as soon as its order is no longer wanted."""
    left = threading.Event()

    def watch() -> None:
        while not left.wait(_LOOK_EVERY_SECONDS):
            if not is_wanted():
                cancellation.request()
                return

    threading.Thread(target=watch, daemon=True, name="watch").start()
    try:
        yield
    finally:
        left.set()


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """Options of a worker.

    `name`: its name for people; `folder`: its working folder in the user's cache, empty: its name;
    `store`: an absolute path, empty for the store of the workspace; `labels`, `gpus`: from the
    command line; `seconds`: how long it looks for the scheduler.
    """

    scheduler: str
    certificate: Path | None
    name: str
    labels: tuple[str, ...]
    gpus: int | None
    host: str = ""
    folder: str = ""
    store: str = ""
    trusts_code: bool = False
    """Whether checkpoints may run code, where a recipe says `trust: code`."""
    keeps_folder: bool = True
    """Whether a worker with this folder may start again: it then continues with its content."""
    seconds: float = _ANSWER_SECONDS


def serve(options: WorkerOptions, workspace: Workspace, print_line: Callable[[str], None]) -> int:
    """Work until the scheduler is gone or a signal ends the process; returns the exit code.

    `workspace`: its buildsys.yaml names the stores; the work is done in a folder of the user's
    cache. Raises CannotReach where there is no such scheduler, or it has a worker of that name;
    BuildsysError where there is no writable remote store.
    """
    connections.configure()
    store = written_store(default_store(workspace, options.store))
    place = Workspace(cache_root() / "workers" / (options.folder or options.name))
    place.root.mkdir(parents=True, exist_ok=True)
    place.claim()
    leave = partial(remove_tree, place.root) if not options.keeps_folder else lambda: None
    signals.end_on_signals(leave, _left)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(place.root / "lock", f"process {os.getpid()}"))
        except BlockingIOError as error:
            message = f"a worker {options.name} is already running on this machine; use `--name` for another one"
            raise CannotReach(message) from error
        held.callback(leave)
        handler = OrderHandler(
            place,
            lambda: OrderStore(store.root, store.remote.settings),
            options.name,
            frozenset(options.labels),
            options.trusts_code,
        )
        held.callback(handler.close)
        has = find_labels(options.labels, options.gpus)
        return asyncio.run(_serve(options, handler, has, print_line))


async def _find_scheduler(options: WorkerOptions, print_line: Callable[[str], None]) -> None:
    """Wait until the scheduler listens. Raises CannotReach."""
    end, is_known = time.monotonic() + options.seconds, False
    while True:
        try:
            connections.probe(options.scheduler, options.seconds, options.certificate)
            return
        except OSError as error:
            why = f"{options.scheduler}: {explain_failure(error)}"
            if isinstance(error, ssl.SSLError) or time.monotonic() > end:
                raise CannotReach(why) from error
            if not is_known:
                is_known = True
                print_line(f"{why}; trying again for {options.seconds:g} s")
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _serve(
    options: WorkerOptions,
    handler: OrderHandler,
    has: Mapping[str, int],
    print_line: Callable[[str], None],
) -> int:
    await _find_scheduler(options, print_line)
    worker = Worker(
        options.scheduler,
        name=options.name,
        nthreads=max(has[THREADS], 1),
        resources=dict(has),
        security=connections.security(options.certificate),
        host=connections.listening_host(options.scheduler, options.host),
        local_directory=str(handler.workspace.state / "dask"),
        memory_limit=0,
        death_timeout=options.seconds,
        dashboard=False,
        dashboard_address=connections.NO_PAGES,
        plugins=(OrderPlugin(handler),),
    )
    try:
        await worker
    except (OSError, ValueError, RuntimeError, TimeoutError) as error:
        raise CannotReach(f"{options.scheduler}: {explain_failure(error)}") from error
    print_line(f"worker {options.name} at {options.scheduler}: {describe(has)}")
    await worker.finished()
    print_line(f"the scheduler at {options.scheduler} is gone, or has dismissed this worker")
    return 1
