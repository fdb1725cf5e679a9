"""What placing a step on a worker costs.

Prints, from one run on this machine, with a scheduler, workers with stores of their own, and a remote
store that is a folder:

- wall milliseconds a step of small steps (gates, each a process), here and on the workers,
- with `--instant`: milliseconds of the coordinator's CPU a step where workers make outputs without
  starting a process, for each number of steps,
- user + system seconds (medians of runs in turns) of a run in which nothing has to run, with `remote` and
  `cluster` in buildsys.yaml and without, and which of their libraries such a run imports.

    python benchmarks/cluster.py [--steps 1000] [--wide 4] [--workers 2] [--instant 1000 10000] [--runs 7]
"""

import argparse
import contextlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.no_op import REPOSITORY, cost_of, make_workspace

INSTANT = """\
import json, sys
from pathlib import Path
from buildsys import cli
from buildsys.execution.cluster import worker

def run_command(command, on_progress, cancellation=None):
    request = json.loads(Path(command.arguments[-1]).read_text())
    command.log.parent.mkdir(parents=True, exist_ok=True)
    command.log.write_text("instant")
    Path(request["outputs"]["verdict"]).write_text('{"passed": true, "failures": []}')
    return 0

worker.process.run_command = run_command
sys.exit(cli.main(sys.argv[1:]))
"""
"""A worker that starts no process."""
LIBRARIES = ("obstore", "distributed", "dask", "cryptography")


def main() -> None:
    """One run of everything, a line for each figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--wide", type=int, default=4, help="steps that are out at once")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--instant", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    os.environ["BUILDSYS_REPORT"] = "none"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        compare_no_op(root / "no-op", options.runs)
        if options.steps:
            compare_steps(root, options.steps, options.wide, options.workers)
        for count in options.instant:
            with cluster(root / f"instant-{count}", options.workers, instant=True) as place:
                cpu, _ = run_steps(place, count, options.wide)
            print(f"{count} steps: {cpu:.2f} ms of the coordinator's CPU a step", flush=True)


def compare_steps(root: Path, count: int, wide: int, workers: int) -> None:
    """Here, then on workers; each with empty stores."""
    os.environ["BUILDSYS_STORE"] = str(root / "alone" / "store")
    (root / "alone" / "place").mkdir(parents=True)
    _, here = run_steps(root / "alone" / "place", count, wide)
    with cluster(root / "cluster", workers) as place:
        cpu, there = run_steps(place, count, wide)
    print(
        f"{count} steps, {wide} at once: {here:.1f} ms a step here, {there:.1f} ms on {workers} workers,"
        f" {there - here:+.1f} ms; {cpu:.2f} ms of the coordinator's CPU",
        flush=True,
    )


@contextlib.contextmanager
def cluster(root: Path, workers: int, instant: bool = False) -> Iterator[Path]:
    """A workspace with a scheduler and workers, which end with the block."""
    place = root / "place"
    place.mkdir(parents=True)
    os.environ["BUILDSYS_STORE"] = str(root / "store")
    os.environ["BUILDSYS_REMOTE"] = f"file://{root}/remote"
    os.environ["BUILDSYS_REMOTE_MODE"] = "read-write"
    with contextlib.ExitStack() as ended:
        log = start(ended, root, "scheduler", ["-m", "buildsys"], "scheduler", "--port", "0")
        address = wait_for(log, r"scheduler at (\S+)")
        command = ["-c", INSTANT] if instant else ["-m", "buildsys"]
        logs = []
        for index in range(workers):
            name = f"{root.name}-{index}"
            words = ("worker", address, "--name", name, "--store", str(root / name))
            logs.append(start(ended, root, name, command, "-C", str(place), *words))
        for log in logs:
            wait_for(log, r"(worker) \S+ at ")
        os.environ["BUILDSYS_CLUSTER"] = address
        yield place


def start(
    ended: contextlib.ExitStack, root: Path, name: str, command: list[str], *words: str
) -> Path:
    """A process of the cluster; the file that it prints into."""
    path = root / f"{name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, *words], stdout=log, stderr=subprocess.STDOUT
        )
    ended.callback(process.wait)
    ended.callback(process.kill)
    return path


def wait_for(log: Path, pattern: str) -> str:
    """What a process prints when it is ready."""
    for _ in range(600):
        found = re.search(pattern, log.read_text())
        if found is not None:
            return found[1]
        time.sleep(0.1)
    raise SystemExit(f"{log.read_text()}\nno {pattern}")


def run_steps(place: Path, count: int, wide: int) -> tuple[float, float]:
    """Milliseconds of this process' CPU, and of the wall, for each of some gates."""
    from buildsys.execution.session.session import Session
    from buildsys.execution.state.completed_plans import plan_beside
    from buildsys.execution.state.plans import Plans
    from buildsys.graph import Input, Output, Source, Step
    from buildsys.registry import get_step, new_step
    from buildsys.steps.gate import Params, Threshold

    metrics = place / "metrics.json"
    metrics.write_text(json.dumps({"metrics": {"box.mAP50": 0.5}}))
    source = Source(path=str(metrics), label="metrics.json")
    inputs = tuple(Input(name=name, source=source) for name in ("metrics", "baseline"))
    outputs = (Output(name="verdict", tree=False, suffix=".json"),)

    def gate(index: int) -> Step:
        params = Params(
            thresholds=(Threshold(metric="box.mAP50", min=index / 10**6, max_drop=None),)
        )
        text = (
            f'{{"thresholds":[{{"max_drop":null,"metric":"box.mAP50","min":{index / 10**6!r}}}]}}'
        )
        return new_step(
            get_step("gate"),
            params,
            text,
            step_id=f"{index:032}",
            stage="gate",
            inputs=inputs,
            outputs=outputs,
        )

    plan = plan_beside("gates@host", "gates", tuple(gate(index) for index in range(count)))
    with contextlib.redirect_stderr(io.StringIO()):
        session = Session(place, plans=Plans.of([plan]))
        session.prepare(["gates@host"])
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(wide) as pool:
            list(pool.map(session.executor.run_step, plan.steps))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        session.close()
    assert len(session.executor.built) == count
    return 1000 * cpu / count, 1000 * took / count


def compare_no_op(root: Path, runs: int) -> None:
    """Nothing to do, with both keys and without, in turns."""
    os.environ["BUILDSYS_STORE"] = str(root / "store")
    plain = make_workspace(root / "plain", 100)
    keys = make_workspace(root / "keys", 100)
    (keys / "buildsys.yaml").write_text(
        f"remote: {{url: 'file://{root}/remote'}}\ncluster: {{scheduler: 'tls://127.0.0.1:1', ca: a.pem}}\n"
    )
    for name in ("build", "doit"):
        command = (sys.executable, "-m", *(("buildsys", "build") if name == "build" else ("doit",)))
        seconds: dict[Path, list[float]] = {plain: [], keys: []}
        for turn in range(runs + 1):
            for place, measured in seconds.items():
                cost = cost_of(command, place).seconds
                if turn:  # the first one warms the caches
                    measured.append(cost)
        one, other = (statistics.median(seconds[place]) for place in (plain, keys))
        print(
            f"nothing to do, {' '.join(command[2:])}: {one:.3f} s without, {other:.3f} s with both"
        )
    code = (
        "import sys; from buildsys.doit.loader import run_builds; from buildsys.doit.run import RunOptions;"
        "from pathlib import Path; run_builds(Path.cwd(), [], 1, RunOptions());"
        f"print([m for m in {LIBRARIES} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=keys, capture_output=True, text=True, check=True
    )
    print(f"  of {', '.join(LIBRARIES)} it imports {done.stdout.splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    main()
