"""What the fuzzers share: a limit of time for a case, cases by number in several processes, options."""

import argparse
import multiprocessing
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol


class Fuzzer(Protocol):
    """Numbered cases of several kinds; `said`: the output of the last one."""

    said: str

    def case(self, kind: str, number: int) -> tuple[str, str]:
        """Run one case; return what it changed, and what is wrong with the result ("" if nothing is)."""


Make = Callable[[int, Path], Fuzzer]
"""Makes a fuzzer from a seed and an empty folder."""


def problem_in(look: Callable[[], str], seconds: float) -> str:
    """Return what `look` finds, or the end of a traceback if it raises anything or takes too long.

    `seconds`: the limit of this process's CPU time; that of elapsed time is ten times as long.
    """

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds:g} s a case")

    clocks = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds),
    }
    before = {number: signal.signal(number, stop) for number in clocks}
    try:
        for clock, most in clocks.values():
            signal.setitimer(clock, most)
        found = look()
        _stop(clocks.values())
        return found
    except BaseException as error:  # whatever comes out is a finding
        _stop(clocks.values())
        if isinstance(error, KeyboardInterrupt):
            raise
        return "".join(traceback.format_exception(error, limit=-8))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(clocks: Iterable[tuple[int, float]]) -> None:
    for clock, _ in clocks:
        signal.setitimer(clock, 0)


def make_parser(document: str | None, count: int) -> argparse.ArgumentParser:
    """Return a parser for a fuzzer's options; `document`: its docstring; `count`: the default of --count."""
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int)
    return parser


def run_jobs(work: Callable[..., int], options: argparse.Namespace, *more: object) -> int:
    """Run `work(job, options, *more)` in one process for each job; return the sum of the results."""
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        return sum(pool.starmap(work, [(job, options, *more) for job in range(options.jobs)]))


def fuzz(document: str | None, kinds: Sequence[str], make: Make) -> int:
    """Run the cases that the command line selects and print findings; return 0 without any, else 1."""
    parser = make_parser(document, 1000)
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=list(kinds))
    options = parser.parse_args()
    if options.only is not None:
        return int(_show_one(options, make))
    found = run_jobs(_work, options, make)
    print(f"{options.count} cases of each of {', '.join(options.kinds)}: {found} wrong")
    return min(1, found)


def _work(job: int, options: argparse.Namespace, make: Make) -> int:
    """Run every `jobs`-th case of each kind; return the number of findings."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = make(options.seed, Path(folder))
        for kind in options.kinds:
            started, found, numbers = time.monotonic(), 0, range(job, options.count, options.jobs)
            for done, number in enumerate(numbers, 1):
                what, problem = fuzzer.case(kind, number)
                if done % 100 == 0:
                    print(f"job {job}: {done} {kind}", flush=True)
                if problem:
                    found += 1
                    print(f"{kind} {number}: {what}: {problem}\n{fuzzer.said}", flush=True)
            seconds = time.monotonic() - started
            print(f"job {job}: {len(numbers)} {kind} in {seconds:.0f} s: {found} wrong", flush=True)
            wrong += found
    return wrong


def _show_one(options: argparse.Namespace, make: Make) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = make(options.seed, Path(folder))
        what, problem = fuzzer.case(options.kinds[0], options.only)
    print(f"{what}\n{fuzzer.said}\n{problem or 'fine'}")
    return bool(problem)
