"""Runs of doit in this process in which one of our functions raises an unexpected error."""

import builtins
import contextlib
import gc
import io
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType

from doit.cmd_run import opt_outfile

import buildsys
from buildsys.doit.loader import run_builds
from buildsys.doit.run import RunOptions
from tests.given_models import tflite_bytes
from tests.processes import PLAIN

PACKAGE = str(Path(buildsys.__file__).parent)
LOOKED_AT = ("doit", "execution", "report", "planning", "authoring", "registry.py", "graph.py")
"""The modules whose functions are tested."""
LEFT_OUT = ("execution/unexpected.py", "execution/children.py", "execution/signals.py")
"""Modules that report errors, or that are called by signals."""
OUTERMOST = (
    "_explained",
    "_report_failure",
    "run_builds",
    "make_reporter",
    "make_reporter.<locals>.RunReporter",
    "make_reporter.<locals>.RunReporter.__init__",
    "Run.__init__",
    "_required",
    "Loader.__init__",
    "Loader.refused",
    "Loader.setup",
    "Loader.load_doit_config",
    "Loader.load_tasks",
    "Reporter.initialize",
    "Reporter.complete_run",
    "Reporter.__init__",
    "Reporter._ending",
    "Reporter._finish",
    "Reporter._finish.<locals>.<listcomp>",
    "Reporter._finish.<locals>.<genexpr>",
)
"""Functions outside our error handling."""
TRIED_AGAIN = (
    ("execution/state/database.py", "_decode"),
    ("execution/state/database.py", "_set_up"),
    ("execution/state/database.py", "Database.record_files.<locals>.insert"),
)
"""What the database calls again after one MemoryError, as it should."""


class Planted(Exception):
    """An unexpected error."""


ERRORS: tuple[type[BaseException], ...] = (
    Planted, RecursionError, MemoryError, SystemExit, AssertionError,
)  # fmt: skip


_END_SECONDS = 0.2
NEEDED_TO_SAY_IT = ("execution/places.py", "execution/session/console.py")
"""Modules without which no error can be reported."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A workspace with one build that is made or restored in each run."""

    place: Path
    store: Path
    restored: bool

    def reset(self) -> None:
        """Reset to the state before the first run, or with a full store."""
        for name in ("build", ".buildsys"):
            shutil.rmtree(self.place / name, ignore_errors=True)
        if not self.restored:
            shutil.rmtree(self.store, ignore_errors=True)

    def problems(self, code: CodeType, number: int, always: bool, parallel: int = 0) -> list[str]:
        """The missing parts of the report if a function raises: message, log, exit code, row."""
        self.reset()
        error = ERRORS[number % len(ERRORS)]
        ended = (run_always if always else run_once)(self.place, code, error, parallel)
        logs = [path.read_text() for path in (self.place / ".buildsys/logs").glob("error-*.log")]
        rows = [
            line for line in ended.text.splitlines() if line.startswith(("plain@host", "plain "))
        ]
        good = {
            f"exit code {ended.code}": ended.code == 1,
            "no sentence": "unexpected error while " in ended.text
            or "unexpected error: " in ended.text,
            "no log": any(f"{error.__name__}: planted here" in text for text in logs),
            "no row": any(
                "failed at" in row or "built" in row or "restored" in row for row in rows
            ),
            "a traceback": "Traceback" not in ended.text,
        }
        missing = [name for name, holds in good.items() if not holds]
        return (
            [f"{describe(code)} raises {error.__name__}: {', '.join(missing)}"] if missing else []
        )


def make_trial(root: Path, restored: bool) -> Trial:
    """Make the workspace `root/place`; the store is BUILDSYS_STORE."""
    place = root / "place"
    (place / "recipes").mkdir(parents=True)
    (place / "model.tflite").write_bytes(tflite_bytes(metadata="x" * 100))
    (place / "recipes" / "plain.yaml").write_text(PLAIN)
    trial = Trial(place=place, store=Path(os.environ["BUILDSYS_STORE"]), restored=restored)
    assert _run(place, 0).code == 0  # so that imports and one-time calls are done
    trial.reset()
    return trial


def is_tried(code: CodeType, always: bool) -> bool:
    """Whether a function can raise at each call: not nested, without `super()`, and not needed to
    report it.
    """
    file = Path(code.co_filename).relative_to(PACKAGE).as_posix()
    nested = "<locals>" in code.co_qualname or code.co_freevars
    return not always or not (nested or file in NEEDED_TO_SAY_IT)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The result of a run."""

    code: int
    text: str


def functions(root: Path, parallel: int = 0) -> list[CodeType]:
    """All our functions that a run calls, in the order of first calls."""
    found: dict[CodeType, None] = {}

    def see(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code not in found and _is_ours(frame.f_code):
            found[frame.f_code] = None

    with _watched_by(see):
        _run(root, parallel)
    return list(found)


def run_once(root: Path, code: CodeType, error: type[BaseException], parallel: int = 0) -> Ended:
    """Run doit while a function raises at its first call."""

    def plant(frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and frame.f_code is code:
            raise error("planted here")  # Python removes the profiler

    with _watched_by(plant):
        return _run(root, parallel)


def run_always(root: Path, code: CodeType, error: type[BaseException], parallel: int = 0) -> Ended:
    """Run doit while a function raises at each call; see `is_tried`."""
    text = f"def raising(*given, **named):\n    raise {error.__name__}('planted here')"
    place: dict[str, FunctionType] = {}
    exec(text, {}, place)
    found = (each for each in gc.get_objects() if type(each) is FunctionType)
    changed = [each for each in found if each.__code__ is code and not each.__closure__]
    vars(builtins)[error.__name__] = error
    try:
        for each in changed:
            each.__code__ = place["raising"].__code__
        return _run(root, parallel)
    finally:
        for each in changed:
            each.__code__ = code
        if error is Planted:
            del vars(builtins)[error.__name__]


def describe(code: CodeType) -> str:
    """A function's module, name and line."""
    place = Path(code.co_filename).relative_to(PACKAGE)
    return f"{place}:{code.co_firstlineno} {code.co_qualname}"


def _run(root: Path, parallel: int) -> Ended:
    before = set(threading.enumerate())
    kept = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    text, streams = io.StringIO(), (sys.stdout, sys.stderr)
    kept_out = opt_outfile["default"]
    opt_outfile["default"] = text  # doit stored sys.stdout at its import
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            code = run_builds(root, [], parallel, RunOptions())
    finally:
        sys.setprofile(None)
        end = time.monotonic() + _END_SECONDS
        for thread in set(threading.enumerate()) - before:  # an error may leave doit's waiting
            thread.join(max(0.0, end - time.monotonic()))
        sys.stdout, sys.stderr = streams  # each restores what it found
        opt_outfile["default"] = kept_out
        for each, handler in kept.items():
            signal.signal(each, handler)
    return Ended(code=code, text=text.getvalue())


def _is_ours(code: CodeType) -> bool:
    if not code.co_filename.startswith(PACKAGE) or code.co_name in ("<module>", "<lambda>"):
        return False
    place = Path(code.co_filename).relative_to(PACKAGE).as_posix()
    is_outermost = place.startswith("doit/") and code.co_qualname in OUTERMOST
    is_outermost = is_outermost or (place, code.co_qualname) in TRIED_AGAIN
    return place.startswith(LOOKED_AT) and place not in LEFT_OUT and not is_outermost


@contextlib.contextmanager
def _watched_by(see: object) -> Iterator[None]:
    threading.setprofile(see)  # type: ignore[arg-type]
    sys.setprofile(see)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
