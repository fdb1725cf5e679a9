"""Shows the progress of a run: a live display on a terminal, plain lines otherwise."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from buildsys.escaping import one_line
from buildsys.printing import guard, printed, unguarded
from buildsys.text import duration

if TYPE_CHECKING:  # imported only where there is a terminal to draw on
    from rich.progress import Progress, TaskID

_LINE_EVERY_SECONDS = 15.0


class Console:
    """Prints when steps start, progress and finish; safe to use from several threads."""

    def __init__(self, line_every: float = _LINE_EVERY_SECONDS) -> None:
        """`line_every`: seconds between two plain lines."""
        self._line_every = line_every
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        self._first: dict[str, tuple[float, float]] = {}
        self._notes: dict[str, str] = {}

    def print_line(self, text: str) -> None:
        """Print one line, with the time since the start."""
        with self._lock:
            self._write(text)

    def start(self, name: str, reason: str, usual: float | None = None) -> None:
        """Print that a step starts. `usual`: the seconds that it will take, if known."""
        about = f" (about {duration(usual)})" if usual else ""
        with self._lock:
            self._begun[name] = self._printed[name] = time.monotonic()
            self._write(f"{name}: {reason}{about}")
            if guard(sys.stderr).isatty():
                with self._drawing():
                    task = self._progress().add_task(one_line(name), total=None, note="")
                    self._tasks[name] = task

    def progress(self, name: str, done: float, total: float, unit: str, note: str) -> None:
        """Print or draw a step's progress."""
        now = time.monotonic()
        with self._lock:
            self._notes[name] = note
            self._first.setdefault(name, (now, done))
            if name in self._tasks:
                text = one_line(f"{_amount(done)}/{_amount(total)} {unit} {note}")
                with self._drawing():
                    task = self._tasks[name]
                    self._progress().update(task, completed=done, total=total, note=text)
            elif now - self._printed.get(name, now) >= self._line_every and done:
                self._printed[name] = now
                elapsed = now - self._begun[name]
                self._write(
                    f"{name}: {_amount(done)} of {_amount(total)} {unit}{', ' + note if note else ''},"
                    f" {duration(elapsed)}{self._left(name, now, done, total)}"
                )

    def finish(self, name: str, outcome: str) -> None:
        """Print that a step has finished."""
        with self._lock:
            if name in self._tasks:
                with self._drawing():
                    self._progress().remove_task(self._tasks.pop(name))
            note = self._notes.pop(name, "")
            self._first.pop(name, None)
            self._write(f"{name}: {outcome}{', ' + note if note else ''}")

    def _left(self, name: str, now: float, done: float, total: float) -> str:
        """Return the remaining time at the speed since the first report.

        The first report is not always zero: a training can resume.
        """
        since, first = self._first[name]
        if done <= first or now <= since or done >= total:
            return ""
        return f", about {duration((total - done) * (now - since) / (done - first))} left"

    def close(self) -> None:
        """Remove the live display from the terminal."""
        with self._lock:
            if self._live is not None:
                with self._drawing():
                    self._live.stop()
                self._live = None

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        """If the terminal is gone, the display ends; the steps continue."""
        try:
            yield
        except (OSError, ValueError, SystemExit):
            self._live = None
            self._tasks.clear()

    def _write(self, text: str) -> None:
        clock = duration(time.monotonic() - self._started)
        line = f"[{clock:>12}] {text}"
        if self._live is not None:
            text = printed(line)
            with self._drawing():
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=guard(sys.stderr), flush=True)

    def _progress(self) -> "Progress":
        if self._live is None:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
            from rich.progress import TimeRemainingColumn as Remaining

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[note]}", markup=False),
                TimeElapsedColumn(),
                Remaining(),
            )
            terminal = Terminal(
                file=unguarded(sys.stderr), emoji=False
            )  # rich writes its own escapes
            self._live = Progress(*columns, console=terminal, transient=True)
            self._live.start()
            # output of other code goes through rich as literal text
            sys.stdout, sys.stderr = guard(sys.stdout), guard(sys.stderr)
        return self._live


def _amount(value: float) -> str:
    """Format an amount: no decimals for whole numbers, one otherwise; never an exponent."""
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"
