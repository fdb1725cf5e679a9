"""The coordinator's connection to a scheduler: its workers, orders out, replies and events in."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from buildsys.errors import CannotReach, StepFailed, shorten
from buildsys.execution.cluster import connections
from buildsys.execution.cluster.orders import (
    EVENTS,
    Event,
    Order,
    Reply,
    read_event,
    read_reply,
    write_order,
)
from buildsys.execution.cluster.placement import Needs, Place
from buildsys.execution.cluster.worker import run_order
from buildsys.execution.unexpected import UNEXPECTED

_CONNECT_SECONDS = 5.0
_LOOK_EVERY_SECONDS = 1.0


class SchedulerLost(Exception):
    """The scheduler disappeared while orders were out."""


class WorkersDied(Exception):
    """More workers died while they had an order than the scheduler tolerates."""


class SchedulerConnection:
    """One scheduler during one run; methods raise SchedulerLost."""

    def __init__(self, address: str, certificate: Path | None) -> None:
        """Connect. Raises CannotReach."""
        connections.configure()
        self.address = address
        self._listeners: dict[str, Callable[[Event], None]] = {}
        self._lost = False
        self._looking = threading.Lock()
        self._places: tuple[Place, ...] = ()
        self.left_out: dict[str, str] = {}
        """By address: why a worker gets no orders."""
        self._looked = 0.0
        try:
            connections.probe(address, _CONNECT_SECONDS, certificate)
            self._client = Client(
                address,
                timeout=_CONNECT_SECONDS,
                security=connections.security(certificate),
                set_as_default=False,
                name="buildsys",
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CannotReach(connections.explain_failure(error)) from error
        self._client.subscribe_topic(EVENTS, self._receive)

    def places(self) -> tuple[Place, ...]:
        """Return the connected workers; at most a second old."""
        self.check()
        with self._looking:
            if time.monotonic() - self._looked >= _LOOK_EVERY_SECONDS:
                self._places = self._look()
                self._looked = time.monotonic()
            return self._places

    def _look(self) -> tuple[Place, ...]:
        try:
            found = self._client.scheduler_info(n_workers=-1)["workers"]
        except UNEXPECTED as error:
            self.lose(error)
        places = []
        for address, each in sorted(found.items()):
            try:
                has = {str(label): int(count) for label, count in each["resources"].items()}
            except (ValueError, OverflowError, TypeError, AttributeError):
                what = shorten(f"{each.get('name')} at {address}")
                self.left_out[address] = f"worker {what} gets no steps: its resources are invalid"
                continue
            places.append(Place(name=str(each["name"]), address=address, has=has))
        return tuple(places)

    def name_of(self, future: Future) -> str:
        """Return the scheduler's name of the worker with a reply; the reply itself may claim any
        name.
        """
        try:
            addresses = self._client.who_has([future]).get(future.key, ())
        except UNEXPECTED as error:
            self.lose(error)
        names = {place.address: place.name for place in self.places()}
        return next((names[each] for each in addresses if each in names), "")

    @property
    def is_lost(self) -> bool:
        """Return whether the scheduler is known to be gone."""
        self._lost |= self._client.status != "running"
        return self._lost

    def check(self) -> None:
        """Raise SchedulerLost if the scheduler is known to be gone."""
        if self.is_lost:
            raise SchedulerLost(self.address)

    def lose(self, error: BaseException) -> NoReturn:
        """Record that the scheduler is gone."""
        self._lost = True
        raise SchedulerLost(self.address) from error

    @contextlib.contextmanager
    def ordered(
        self,
        order: Order,
        needs: Needs,
        only: tuple[str, ...],
        on_event: Callable[[Event], None],
        attempt: int = 0,
    ) -> Iterator["Ordered"]:
        """Send an order for the duration of the block; afterwards it is cancelled.

        Runs that send the same order share the work of the first attempt. `only`: addresses of
        workers that may take it, empty: all; `on_event` gets its events.
        """
        self.check()
        self._listeners[order.key] = on_event
        try:
            future = self._client.submit(
                run_order,
                write_order(order),
                key=f"{order.module}-{order.key}{f'-{attempt}' if attempt else ''}",
                pure=False,
                retries=0,
                resources=dict(needs),
                workers=list(only) or None,
                allow_other_workers=False,
            )
            done = threading.Event()
            future.add_done_callback(lambda _: done.set())
            try:
                yield Ordered(connection=self, future=future, done=done)
            finally:
                future.release()
        finally:
            del self._listeners[order.key]

    def close(self) -> None:
        """Close the connection at the end of the run."""
        with contextlib.suppress(*UNEXPECTED):
            self._client.close(timeout=2)

    def _receive(self, event: tuple[float, object]) -> None:
        _, text = event
        try:
            found = read_event(str(text))
        except ValueError:  # from another release, or not an event
            return
        on_event = self._listeners.get(found.key)
        if on_event is not None:
            on_event(found)


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """An order that is out."""

    connection: SchedulerConnection
    future: Future
    done: threading.Event

    def reply(self, seconds: float) -> Reply | None:
        """Return the reply; None if there is none after some seconds.

        Raises WorkersDied; StepFailed for an invalid reply.
        """
        if not self.done.wait(seconds):
            self.connection.check()
            return None
        try:
            text = str(self.future.result())
        except KilledWorker as error:
            raise WorkersDied from error
        except UNEXPECTED as error:
            # an error of the worker before `run_order` could reply
            if self.future.status == "error":
                raise StepFailed(
                    f"a worker could not run it: {shorten(str(error), 300)}"
                ) from error
            self.connection.lose(error)
        try:
            reply = read_reply(text)
        except ValueError as error:
            raise StepFailed(
                f"the reply of worker {self.connection.name_of(self.future)} cannot be read ({error}):"
                " install the same buildsys there"
            ) from error
        name = self.connection.name_of(self.future)  # the scheduler's, whatever the worker wrote
        return replace(reply, worker=name) if name else reply
