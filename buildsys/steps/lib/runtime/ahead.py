"""Compute results in several processes, in the order of the items."""

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TypeVar

from buildsys.steps.lib.runtime.progress import StepError, fail

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Sequence[T], processes: int) -> Iterator[R]:
    """Yield the result of `function` for each item, in order; it must depend only on the item.

    The processes take items in turn; each is at most a few results ahead, because a pipe holds no
    more. With one process nothing is forked.
    """
    if processes < 2 or len(items) < 2:
        yield from map(function, items)
        return
    shares = [items[first::processes] for first in range(min(processes, len(items)))]
    answers = [_answering(function, share) for share in shares]
    for number in range(len(items)):
        try:
            answer, error = answers[number % len(answers)].recv()
        except EOFError:
            fail("a process of this step has ended; the machine may have run out of memory.")
        if error is not None:
            raise error
        yield answer


def _answering(function: Callable[[T], R], items: Sequence[T]) -> Connection:
    """Start a process that sends (result, None) for each item, or (None, the error that ended it),
    whose traceback it prints.
    """
    receiving, sending = Pipe(duplex=False)
    if os.fork():
        sending.close()
        return receiving
    try:
        receiving.close()
        for item in items:
            found, error = _call(function, item)
            sending.send((found, error))
            if error is not None:
                break
    finally:  # also where nobody reads any more
        sending.close()
        os._exit(0)


def _call(function: Callable[[T], R], item: T) -> tuple[R | None, Exception | None]:
    try:
        return function(item), None
    except StepError as error:
        return None, error
    except Exception as error:
        traceback.print_exc()
        return None, _as_sent(error)


def _as_sent(error: Exception) -> Exception:
    """Return an error that can be sent to another process: itself, or its text."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
