"""What a run costs in which nothing, or next to nothing, has to run.

Prints user + system seconds (smallest of several runs, taken in turns) and peak memory, for each
number of steps, of

- ninja and a bare doit with as many tasks of two inputs and one output,
- `doit` and `buildsys build` in a workspace that is up to date,
- both after an edit of one recipe: wall seconds until the step begins.

and of a workspace with a dataset of 20,000 pictures that 5 builds use.

    python benchmarks/no_op.py [--steps 100 1000 10000] [--pictures 20000] [--runs 5]
"""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

RECIPE = """\
name: {name}
source: {{family: onnx, weights: {{path: model.onnx}}}}
dataset: {{format: ultralytics, path: data/data.yaml}}
input: {{size: {size}}}
evaluate: none
quantization: {{scheme: int8, calibration: {{split: train, count: 4, seed: {seed}}}}}
targets: [host]
"""
STEPS_A_BUILD = 11
"""Pictures, conversions, the ladder's recordings, verdicts, the package: some of them shared."""

BARE = """\
DOIT_CONFIG = {{"backend": "sqlite3"}}
def task_all():
    for index in range({count}):
        yield {{"name": str(index), "actions": ["true"], "file_dep": [f"in/{{index}}", f"in/{{index + 1}}"],
               "targets": [f"out/{{index}}"]}}
"""


METER = """\
import os, sys
pid = os.fork()
if not pid:
    os.execvp(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as stream:
    print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=stream)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""
"""A program that runs a command and writes its cost to a file, for `read_cost`.

It is small because a process's peak memory is at least that of its parent.
"""


@dataclass(frozen=True)
class Cost:
    """Of one process with its children: user + system seconds, peak memory in MiB."""

    seconds: float
    memory: float


def main() -> None:
    """Prepare the folders, measure in turns, print a table with ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["BUILDSYS_STORE"] = str(root / "store")
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        os.environ["BUILDSYS_REPORT"] = "text"  # its pages need an environment
        for steps in options.steps:
            compare(root / str(steps), steps, options.runs)
        look_at_pictures(root, options.pictures, options.runs)


def compare(root: Path, steps: int, runs: int) -> None:
    """One number of steps: the no-op of each tool in turns, then the edits."""
    ours = make_workspace(root / "ours", steps)
    bare = make_bare(root / "bare", steps)
    commands: dict[str, tuple[Sequence[str], Path]] = {
        "buildsys build": ((sys.executable, "-m", "buildsys", "build"), ours),
        "doit, this workspace": ((sys.executable, "-m", "doit"), ours),
        "bare doit": ((sys.executable, "-m", "doit"), bare),
    }
    if shutil.which("ninja"):
        commands["ninja"] = (("ninja",), bare)
    best = measure(commands, runs)
    print(f"\n{steps} steps, nothing to do")
    for name, cost in best.items():
        print(f"  {name:<24} {cost.seconds:7.3f} s {cost.memory:7.0f} MiB")
    if "ninja" in best:
        allowed = 2 * best["ninja"].seconds + 0.03
        print(
            f"  buildsys build against 2 x ninja + 0.03 s: {ratio(best, 'buildsys build', allowed)}"
        )
    allowed = 1.5 * best["bare doit"].seconds
    print(f"  doit against 1.5 x bare doit: {ratio(best, 'doit, this workspace', allowed)}")
    for name in ("buildsys build", "doit, this workspace"):
        seconds = min(edit_one(ours, commands[name][0], run) for run in range(max(2, runs - 2)))
        print(f"  one edit, {name}: {seconds:.3f} s until the step begins")


def ratio(best: dict[str, Cost], name: str, allowed: float) -> str:
    """How much of what is allowed a command takes."""
    return f"{best[name].seconds:.3f} of {allowed:.3f} s, {best[name].seconds / allowed:.2f}"


def measure(commands: dict[str, tuple[Sequence[str], Path]], runs: int) -> dict[str, Cost]:
    """Smallest costs per command, the commands taken in turns."""
    best: dict[str, Cost] = {}
    for turn in range(runs + 1):
        for name, (command, folder) in commands.items():
            cost = cost_of(command, folder)
            if turn:  # the first turn builds what is missing and warms the caches
                known = best.get(name, cost)
                best[name] = Cost(min(cost.seconds, known.seconds), min(cost.memory, known.memory))
    return best


def cost_of(command: Sequence[str], folder: Path) -> Cost:
    """Run a command and return its cost with all its children."""
    with tempfile.TemporaryDirectory() as report_folder:
        report = Path(report_folder) / "cost.txt"
        subprocess.run(
            (sys.executable, "-SE", "-c", METER, str(report), *command),
            cwd=folder,
            capture_output=True,
            check=True,
        )
        return read_cost(report)


def read_cost(report: Path) -> Cost:
    """Return the cost that METER wrote."""
    seconds, kib = report.read_text(encoding="utf-8").split()
    return Cost(float(seconds), int(kib) / 1024)


def edit_one(root: Path, command: Sequence[str], seed: int) -> float:
    """Wall seconds from the start of a run, after one recipe was edited, to its first step.

    The step itself is a stand-in: environments are folders whose interpreter notes the time.
    """
    recipe = sorted((root / "recipes").iterdir())[0]
    text = recipe.read_text()
    recipe.write_text(text.replace("seed: ", f"seed: {seed + 1_000_000}"))
    mark = root / "began"
    mark.unlink(missing_ok=True)
    place_interpreters(f"#!/bin/sh\ndate +%s.%N > {mark}\nexit 1\n")
    started = time.time()
    subprocess.run(command, cwd=root, capture_output=True, check=False)
    began = float(mark.read_text())
    recipe.write_text(text)
    subprocess.run(command, cwd=root, capture_output=True, check=True)
    return began - started


def place_interpreters(script: str) -> None:
    """Tool environments that hold nothing but an interpreter of our own."""
    from buildsys.execution.tools import definitions

    for env in definitions.all_tool_envs():
        for variant in env.variants:
            python = definitions.folder(env, variant) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text(script)
            python.chmod(0o755)
            (python.parent.parent / ".synced").write_text(variant)


def make_workspace(root: Path, steps: int) -> Path:
    """Recipes with about `steps` steps, built once by a stand-in for the tools."""
    from buildsys.authoring.scaffold.starters import LOADER_CONFIG
    from tests.given_models import Edge, onnx_bytes

    folder = root / "data" / "images" / "train"
    folder.mkdir(parents=True)
    (root / "recipes").mkdir()
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    open_size = Edge(name="images", shape=(1, 3, "height", "width"))
    (root / "model.onnx").write_bytes(onnx_bytes(inputs=(open_size,)))
    (root / "data" / "data.yaml").write_text("train: images/train\nnames: [tag]\n")
    (folder / "0.jpg").write_bytes(b"picture")
    for index in range(max(1, steps // STEPS_A_BUILD)):
        text = RECIPE.format(name=f"r{index:05}", size=32 + 32 * (index % 40), seed=index)
        (root / "recipes" / f"r{index:05}.yaml").write_text(text)
    build(root)
    return root


def build(root: Path) -> None:
    """Everything, with the stand-in of the tests."""
    from buildsys.execution.session.session import Session
    from tests.conftest import StandIn, no_environment

    with contextlib.redirect_stderr(io.StringIO()):
        session = Session(root, StandIn(), no_environment)
        session.build(list(session.plans))
        session.close()


def make_bare(root: Path, count: int) -> Path:
    """A dodo.py and a build.ninja without us: two inputs and one output a task."""
    for name in ("in", "out"):
        (root / name).mkdir(parents=True)
    for index in range(count + 1):
        (root / "in" / str(index)).write_text(str(index))
        (root / "out" / str(index)).write_text(str(index))
    (root / "dodo.py").write_text(BARE.format(count=count))
    rules = ["rule touch\n  command = touch $out\n"]
    rules += [f"build out/{i}: touch in/{i} in/{i + 1}\n" for i in range(count)]
    (root / "build.ninja").write_text("".join(rules))
    return root


def look_at_pictures(root: Path, pictures: int, runs: int) -> None:
    """What a large dataset that 5 builds use adds to a run without work."""
    command = (sys.executable, "-m", "buildsys", "build")
    best = measure(
        {
            "few": (command, make_large(root / "few", 6)),
            "many": (command, make_large(root / "many", pictures)),
        },
        runs,
    )
    more = best["many"].seconds - best["few"].seconds
    print(f"\n{pictures} pictures that 5 builds use: {more:.3f} s more than 6 pictures")


def make_large(root: Path, pictures: int) -> Path:
    """Five builds over one dataset."""
    make_workspace(root, 5 * STEPS_A_BUILD)
    for index in range(1, pictures):
        (root / "data" / "images" / "train" / f"{index:06}.jpg").write_bytes(b"%d" % index)
    time.sleep(0.1)
    build(root)
    return root


if __name__ == "__main__":
    main()
