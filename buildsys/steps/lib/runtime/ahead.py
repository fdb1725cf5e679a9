"""Compute results in several processes, in the order of the items."""

import os
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
            good, answer = answers[number % len(answers)].recv()
        except EOFError:
            fail("a process of this step has ended; the machine may have run out of memory.")
        if not good:
            fail(answer)
        yield answer


def _answering(function: Callable[[T], R], items: Sequence[T]) -> Connection:
    """Start a process that sends (True, result) or (False, the message of a StepError) for each
    item.
    """
    receiving, sending = Pipe(duplex=False)
    if os.fork():
        sending.close()
        return receiving
    try:
        receiving.close()
        for item in items:
            try:
                sending.send((True, function(item)))
            except StepError as error:
                sending.send((False, str(error)))
                break
    finally:
        sending.close()
        os._exit(0)
