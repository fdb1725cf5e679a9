"""A batch over a cluster whose parts are killed in between ships the bytes of a serial build.

Builds recipes for three targets each on this machine, one step after the other. Then again in a second
place, with an empty store and no .buildsys, over a scheduler, workers with stores of their own and
`rclone serve s3`; every step is a process, its tool a stand-in. At two moments SIGKILL hits:

- the run itself, which is started again;
- the scheduler, one worker and the S3 server, which are started again, and then the run.

Compares every shipped file, every manifest.json and buildsys.lock (but for seconds of trainings), and says
which steps ran where and which began twice. Exit code 1 where bytes differ, where a step that had finished
ran again, where a damaged file is in a store, or where something is left after the end. After its
server has died, a run continues on this machine until it finds that the scheduler is gone. Results that only
the server had are made again: they are counted, and are not a problem.

    python benchmarks/cluster_batch.py [--recipes 40] [--workers 4] [--wide 8] [--seed 0]
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from tests import processes  # noqa: E402
from tests.cluster_processes import Cluster  # noqa: E402
from tests.given_models import tflite_bytes  # noqa: E402
from tests.object_servers import BUCKET, CREDENTIALS, UNFINISHED_UPLOAD, S3Server  # noqa: E402

TRAINED_EVERY = 4
"""Of so many recipes one trains (47 steps for three boards); the others start from a finished file."""
THIRD_BOARD = "  - linux-arm64-tflite\n"
GIVEN = """\
name: {name}
source: {{family: tflite, weights: {{path: {name}.tflite}}}}
targets: [host, {{target: host, as: second}}, {{target: host, as: third}}]
"""
HERE, FOUND = "here", "another run has finished the same step"
LONGEST_SECONDS = 3600.0
"""The longest time of one run."""

_LINE = re.compile(r"^\[[^\]]*\] (\S+ \([^)]*\)): (.*)$", re.MULTILINE)
_DONE = re.compile(r"done in .*?(?: on (w\d+))?(?:,|$)")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a run printed: the steps that it began, those that it finished, and where.

    `found`: steps whose result a worker had made for an earlier run, which was killed; `again`: how often
    a step began again on another worker.
    """

    what: str
    seconds: float
    code: int
    begun: frozenset[str]
    done: dict[str, str]
    found: frozenset[str]
    again: int
    text: str


class Started:
    """A run in progress, and its output so far."""

    def __init__(
        self, what: str, place: Path, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> None:
        self.what, self.began = what, time.monotonic()
        self.log = place.parent / f"{what.replace(' ', '-')}.out"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "doit", *arguments],
                cwd=place,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**processes.environment(place.parent), **(extra or {})},
            )

    def done(self) -> int:
        """Return the number of finished steps."""
        return self.log.read_text(errors="replace").count(": done in ")

    def ended(self) -> Run:
        """Wait for its end, and return its output as values."""
        code = self.process.wait(LONGEST_SECONDS)
        return read_run(self.what, time.monotonic() - self.began, code, self.log.read_text())


def read_run(what: str, seconds: float, code: int, text: str) -> Run:
    """Return the output of a run as values."""
    lines = [(name, outcome, _DONE.match(outcome)) for name, outcome in _LINE.findall(text)]
    found = frozenset(name for name, outcome, _ in lines if outcome == FOUND)
    return Run(
        what=what,
        seconds=seconds,
        code=code,
        begun=frozenset(name for name, _, _ in lines) - found,
        done={name: match[1] or HERE for name, _, match in lines if match is not None},
        found=found,
        again=text.count(" begins again on "),
        text=text,
    )


class Batch:
    """Two equal workspaces: `alone` is built serially, `cluster` on workers."""

    def __init__(self, root: Path, recipes: int, workers: int, wide: int, seed: int) -> None:
        self.root, self.random, self.wide = root, random.Random(seed), wide
        self.problems: list[str] = []
        self.started: list[Started] = []
        self.names = [f"w{number}" for number in range(workers)]
        self.server = S3Server(root / "server")
        self.alone = processes.make_place(root / "alone", seconds=0.01, boards=2)
        self.cluster = Cluster(root / "cluster", boards=2)
        self.cluster.remote = f"s3://{BUCKET}/team"
        self.cluster.endpoint = self.server.endpoint
        for place in (self.alone, self.cluster.place):
            write_recipes(place, recipes)

    def run(self) -> list[Run]:
        """Run everything and return the runs; what is wrong is added to `problems`."""
        try:
            return self._run()
        finally:
            self._close()

    def _run(self) -> list[Run]:
        runs = [self._start("serially", self.alone).ended()]
        count = len(runs[0].done)
        print(f"{count} steps in {runs[0].seconds:.0f} s serially", file=sys.stderr, flush=True)
        first, second = self.random.uniform(0.1, 0.4), self.random.uniform(0.2, 0.6)
        self.server.start()
        self.cluster.start(*self.names)
        runs.append(self._hit("the run killed", first * count, self._kill_run))
        left = count - len(runs[-1].done)
        what = "scheduler, worker and server killed"
        runs.append(self._hit(what, second * left, self._kill_servers))
        self._start_servers()
        runs.append(self._on_workers("to its end").ended())
        self._close()
        self._compare(runs)
        return runs

    def _start(
        self, what: str, place: Path, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> Started:
        self.started.append(Started(what, place, *arguments, extra=extra))
        return self.started[-1]

    def _on_workers(self, what: str) -> Started:
        words, variables = ("-n", str(self.wide)), self.cluster.variables
        return self._start(what, self.cluster.place, *words, extra=variables)

    def _hit(self, what: str, done: float, kill: Callable[[Started], None]) -> Run:
        """Start a run on workers, and kill something when it has finished `done` steps."""
        started = self._on_workers(what)
        while started.done() < done and started.process.poll() is None:
            time.sleep(0.02)
        time.sleep(self.random.uniform(0, 0.3))  # not always at the end of a step
        if started.process.poll() is not None:
            self.problems.append(f"{what}: the run was over before")
        kill(started)
        return started.ended()

    def _kill_run(self, started: Started) -> None:
        started.process.kill()

    def _kill_servers(self, started: Started) -> None:
        victim = self.random.choice(self.names)
        struck = ["scheduler", victim, "server"]
        self.random.shuffle(struck)
        for name in struck:
            if name == "server":
                self.server.kill()
            else:
                self.cluster.kill(name)

    def _start_servers(self) -> None:
        """Wait for the workers, which end with their scheduler, and start everything again."""
        for name in self.names:
            self.cluster.processes[name].wait(60)
        self.server.start()
        self.cluster.start(*self.names)

    def _close(self) -> None:
        """End every process, the workers first, as a service manager does."""
        for started in self.started:
            if started.process.poll() is None:
                started.process.kill()
        for name in (*self.names, "scheduler"):
            process = self.cluster.processes.get(name)
            if process is not None and process.poll() is None:
                self.cluster.kill(name, signal.SIGTERM)
        self.cluster.close()
        self.server.kill()

    def _compare(self, runs: list[Run]) -> None:
        """Check everything that must hold in the end."""
        # a step that a killed run sent out may be found by the next without a word
        expected = ((0,), (-signal.SIGKILL,), (0, 1), (0,))  # 0: the rest was made here
        for run, codes in zip(runs, expected, strict=True):
            if run.code not in codes:
                self.problems.append(f"{run.what}: exit code {run.code}\n{run.text[-3000:]}")
            if "Traceback" in run.text:
                self.problems.append(f"{run.what}: a traceback\n{run.text}")
        here, there = processes.shipped(self.alone), processes.shipped(self.cluster.place)
        self.problems += [
            f"{name} is not the same"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]
        locks = [without_seconds(place) for place in (self.alone, self.cluster.place)]
        if locks[0] != locks[1]:
            self.problems.append("buildsys.lock is not the same")
        self.problems += [f"{name} was finished twice" for name in finished_twice(runs)]
        self.problems += damaged(self.root)
        self.problems += [
            f"process {number} is left" for number in processes.processes_in(self.root)
        ]
        self.problems += [
            f"{path} is left"
            for folder in (
                Path(tempfile.gettempdir()),
                self.cluster.place / ".buildsys" / "scratch",
            )
            for path in (folder.iterdir() if folder.is_dir() else ())
        ]


def finished_twice(runs: list[Run]) -> list[str]:
    """Return the steps that were finished again although their result could be had."""
    _, first, second, last = (run.done for run in runs)
    reachable = [*first, *(name for name, where in second.items() if where != HERE), *last]
    return [name for name, count in Counter(reachable).items() if count > 1]


def made_again(runs: list[Run]) -> int:
    """Return the number of steps that were made again here, since the server was dead."""
    _, first, second, _ = (run.done for run in runs)
    return sum(where == HERE for name, where in second.items() if name in first)


def write_recipes(place: Path, count: int) -> None:
    """Write recipes with three targets each; see `TRAINED_EVERY`."""
    recipes = place / "recipes"
    trained = (recipes / "tags.yaml").read_text() + THIRD_BOARD
    for path in recipes.iterdir():
        path.unlink()
    for number in range(count):
        name = f"r{number:02}"
        text = GIVEN.format(name=name)
        if number % TRAINED_EVERY == 0:
            text = trained.replace("name: tags", f"name: {name}").replace(
                "epochs: 2", f"epochs: {number + 1}"
            )
        else:
            (place / f"{name}.tflite").write_bytes(tflite_bytes(metadata=f"{number:04}" * 5000))
        (recipes / f"{name}.yaml").write_text(text)


def without_seconds(place: Path) -> str:
    """Return the text of buildsys.lock without the durations of trainings."""
    return re.sub(r"[0-9.]+ ?s\b|seconds\W+[0-9.]+", "", (place / "buildsys.lock").read_text())


def damaged(root: Path) -> list[str]:
    """Return a sentence for each blob, of any store or the server, whose digest is not its name.

    What a killed server has left of an upload is its own file, and no object that can be read.
    """
    return [
        f"{path} is damaged"
        for path in root.rglob("blobs/*/*")
        if path.is_file()
        and not path.name.startswith(UNFINISHED_UPLOAD)
        and processes.digest(path) != path.name.partition(".")[0]
    ]


def table(runs: list[Run], workers: list[str]) -> str:
    """Return a table with a row for each run."""
    head = ["run", "seconds", "exit code", "steps", HERE, *workers, "found made", "again elsewhere"]
    rows = [head]
    for run in runs:
        where = Counter(run.done.values())
        counts = [
            len(run.done),
            *(where[name] for name in (HERE, *workers)),
            len(run.found),
            run.again,
        ]
        rows.append([run.what, f"{run.seconds:.0f}", str(run.code), *map(str, counts)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def main() -> int:
    """Return 1 if there were problems, 0 otherwise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipes", type=int, default=40)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--wide", type=int, default=8, help="steps that are out at once")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.update(CREDENTIALS, BUILDSYS_REPORT="none")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "tmp").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(root / "tmp")
        batch = Batch(root, options.recipes, options.workers, options.wide, options.seed)
        runs = batch.run()
        shipped = processes.shipped(batch.cluster.place)
    print(table(runs, batch.names))
    begun = Counter(name for run in runs[1:] for name in run.begun)
    twice = sum(run.again for run in runs) + sum(count - 1 for count in begun.values())
    manifests = sum(Path(name).name == "manifest.json" for name in shipped)
    print("\n".join(batch.problems[:20]))
    print(
        f"{options.recipes} recipes, {manifests} packages, {len(shipped)} files: {twice} steps began"
        f" twice, {len(finished_twice(runs))} were finished twice, {made_again(runs)} made again without"
        f" the server; {len(batch.problems)} problems"
    )
    return 1 if batch.problems else 0


if __name__ == "__main__":
    sys.exit(main())
