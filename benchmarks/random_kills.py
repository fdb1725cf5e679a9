"""Kills runs at random moments and looks what is left: nothing partial, nothing lost, no child.

Builds a small workspace (3 builds, every step a process) again and again. Each run is hit at a
random moment: doit, the tool that is running, or both, by SIGKILL, SIGTERM or SIGINT. After each:

- no process of the run is left;
- every blob of the store has the bytes that its name promises, every action names blobs that are
  there, every folder in build/ has the files that its manifest lists;
- the state database is readable;
- no step that was finished before runs again.

The next run goes on from there. What comes out in the end equals an undisturbed build byte for byte;
then everything, or only build/, or only .buildsys/, is deleted and it starts again.

    python benchmarks/random_kills.py [--kills 1000] [--minutes M] [--seed 0]
"""

import argparse
import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests import processes  # noqa: E402

TOOL_SECONDS = 0.06
"""About what a tool takes here, the start of its interpreter included."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Trial:
    """One workspace whose runs are killed; `problems`: what went wrong."""

    def __init__(self, root: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.place = processes.make_place(root / "tried", seconds=0.01, boards=2)
        self.store = root / "tried" / "store"
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        calm = processes.make_place(root / "calm", seconds=0.01, boards=2)
        started = time.monotonic()
        done = processes.run_doit(calm)
        assert done.returncode == 0, done.stdout
        self.seconds = time.monotonic() - started
        self.expected = processes.shipped(calm)

    def run(self, kills: int, seconds: float) -> None:
        """Kill runs up to that number or time; then let one run end undisturbed."""
        end = time.monotonic() + seconds
        while self.counts["kills"] < kills and time.monotonic() < end:
            self.hit()
            if self.counts["kills"] % 100 == 0:
                print(f"{self.counts['kills']}, {len(self.problems)} problems", file=sys.stderr)
        done = processes.run_doit(self.place)
        if done.returncode:
            self.problems.append(f"an undisturbed run failed: {done.stdout}")
        self.compare()

    def hit(self) -> None:
        """Start a run, kill some of its processes, and check what is left."""
        before = self.finished()
        process = processes.start_doit(self.place, *self.random.choice(((), ("-n", "2"))))
        time.sleep(self.random.uniform(0.02, self.random.choice((0.2, self.seconds))))
        number = self.random.choice(SIGNALS)
        struck = self.strike(process, self.random.choice(("doit", "tool", "both")), number)
        output, _ = process.communicate(timeout=120)
        if struck:
            self.counts.update(("kills", struck, number.name))
        self.look(before, f"kill {self.counts['kills']} ({number.name} to {struck or 'nothing'})")
        if struck in ("tool", "") and re.search("^Traceback", output, re.MULTILINE):
            self.problems.append(f"a traceback: {output}")
        if process.returncode == 0:
            self.compare()
            self.delete()

    def strike(self, process: "subprocess.Popen[str]", victim: str, number: signal.Signals) -> str:
        """Send the signal and return `victim`; "" if the run had ended."""
        tools: list[int] = []
        while victim != "doit" and not tools and process.poll() is None:
            if processes.tools_in(self.place):
                time.sleep(self.random.uniform(0, TOOL_SECONDS))  # not always at its beginning
                tools = processes.tools_in(self.place)
        if process.poll() is not None:
            return ""
        targets = [self.random.choice(tools)] if victim == "tool" else [*tools, process.pid]
        self.random.shuffle(targets)
        for target in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, number)
        return victim

    def finished(self) -> dict[str, int]:
        """Return {action key of each recorded step: time at which its log was last changed, in ns}."""
        found = {}
        for path in (self.store / "actions").glob("*/*.json"):
            log = self.place / ".buildsys" / "logs" / f"{path.stem}.log"
            found[path.stem] = log.stat().st_ctime_ns if log.exists() else 0
        return found

    def look(self, before: dict[str, int], what: str) -> None:
        """Check everything that must hold after any end of a run."""
        try:
            processes.wait_until(lambda: not processes.processes_in(self.place), "the end", 10)
        except AssertionError:
            self.problems.append(f"{what}: left {processes.processes_in(self.place)}")
        self.problems += [f"{what}: {text}" for text in processes.damage(self.place, self.store)]
        after = self.finished()
        again = [key for key, begun in before.items() if after.get(key) != begun]
        self.problems += [f"{what}: finished step {key} ran again or was lost" for key in again]
        database = self.place / ".buildsys" / "state.sqlite"
        if database.exists():
            with contextlib.closing(sqlite3.connect(database)) as connection:
                (text,) = connection.execute("PRAGMA integrity_check").fetchone()
            if text != "ok":
                self.problems.append(f"{what}: database: {text}")

    def compare(self) -> None:
        """Check that a finished build equals the undisturbed one."""
        self.counts["builds"] += 1
        if processes.shipped(self.place) != self.expected:
            self.problems.append("other bytes than undisturbed")

    def delete(self) -> None:
        """Delete results, so that there is work again; never the store without the state."""
        build, state = self.place / "build", self.place / ".buildsys"
        everything = (build, state, self.store)
        for folder in self.random.choice(((build,), (state,), *[everything] * 4)):
            shutil.rmtree(folder)


def main() -> int:
    """Return 1 if there were problems, 0 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(Path(folder), options.seed)
        trial.run(options.kills, options.minutes * 60)
    counts = trial.counts
    print("\n".join(trial.problems[:20]))
    print(
        f"{counts['kills']} kills (doit {counts['doit']}, tool {counts['tool']}, both"
        f" {counts['both']}; SIGKILL {counts['SIGKILL']}, SIGTERM {counts['SIGTERM']}, SIGINT"
        f" {counts['SIGINT']}) in {counts['builds']} builds, {time.monotonic() - started:.0f} s:"
        f" {len(trial.problems)} problems"
    )
    return 1 if trial.problems else 0


if __name__ == "__main__":
    sys.exit(main())
