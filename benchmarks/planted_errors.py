"""Lets every function of a run raise, one after the other, and looks what is said.

A small workspace is built, or restored from its store, by doit in this process, with stand-ins for the
tools. In each run one function of ours raises: at its first call, or at every call. Each run must end
with exit code 1, a sentence, a log with the traceback and a row for the build.

    python benchmarks/planted_errors.py [--every 1]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from buildsys.execution.session.session import Session  # noqa: E402
from tests import planted_errors  # noqa: E402
from tests.conftest import StandIn, no_environment  # noqa: E402


def try_all(root: Path, restored: bool, parallel: int, every: int) -> tuple[int, list[str]]:
    """How many functions were tried, and what was missing."""
    os.environ["BUILDSYS_STORE"] = str(root / "store")
    trial = planted_errors.make_trial(root, restored)
    tried, problems = 0, []
    for number, code in enumerate(planted_errors.functions(trial.place, parallel)):
        for always in (False, True) if number % every == 0 else ():
            if planted_errors.is_tried(code, always):
                tried += 1
                problems += trial.problems(code, number, always, parallel)
    return tried, problems


def main() -> int:
    """Exit code 1 when anything was missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="one function of so many")
    options = parser.parse_args()
    started = time.monotonic()
    patch = pytest.MonkeyPatch()
    patch.setattr(Session.__init__, "__defaults__", (StandIn(), no_environment, None, None))
    patch.setattr("buildsys.execution.tools.host_tools.find_program", lambda name: name)
    patch.setattr("buildsys.execution.tools.host_facts.MARKS", ())
    os.environ["BUILDSYS_REPORT"] = "text"
    tried, problems = 0, list[str]()
    for restored, parallel in ((True, 0), (False, 0), (False, 2)):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
            count, found = try_all(Path(folder), restored, parallel, options.every)
        tried += count
        problems += [f"{'restored' if restored else 'built'}, -n {parallel}: {p}" for p in found]
    print("\n".join(problems))
    print(f"{tried} errors planted in {time.monotonic() - started:.0f} s: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
