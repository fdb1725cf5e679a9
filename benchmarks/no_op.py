"""What a run costs in which nothing has to run: `doit` here against a bare doit.

Prints user + system seconds (smallest of several runs, taken in turns) of

- `doit` in a workspace with N builds that are up to date,
- a bare doit with as many trivial tasks,
- the same workspace with a dataset of 20,000 pictures that 5 builds use,
- 20,000 stats alone.

    python benchmarks/no_op.py [--builds 40] [--pictures 20000] [--runs 5]
"""

import argparse
import contextlib
import io
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

RECIPE = """\
name: {name}
source: {{family: tflite, weights: {{path: model.tflite}}}}
targets: [host]
"""

WITH_DATA = """\
name: {name}
source: {{family: onnx, weights: {{path: model.onnx}}}}
dataset: {{format: ultralytics, path: data/data.yaml}}
input: {{size: {size}}}
evaluate: none
quantization: {{scheme: int8, calibration: {{split: train, count: 4}}}}
targets: [host]
"""

BARE = """\
DOIT_CONFIG = {{"backend": "sqlite3"}}
def task_all():
    for index in range({count}):
        yield {{"name": str(index), "actions": [], "uptodate": [True]}}
"""

STATS = """\
import os
def walk(folder):
    for entry in os.scandir(folder):
        if entry.is_dir():
            walk(entry.path)
        else:
            entry.stat()
walk("data")
"""


def main() -> None:
    """Prepare the folders, measure in turns, print a table with differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--builds", type=int, default=40)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["BUILDSYS_STORE"] = str(root / "store")
        os.environ["XDG_CACHE_HOME"] = str(root / "cache")
        os.environ["PYTHONPATH"] = str(REPOSITORY)
        plain = make_workspace(root / "plain", options.builds)
        large = make_large(root / "large", options.pictures)
        doit = [sys.executable, "-m", "doit"]
        commands: dict[str, tuple[Sequence[str], Path]] = {
            f"doit, {options.builds} builds": (doit, plain),
            "bare doit, as many tasks": (doit, make_bare(root / "bare", 2 * options.builds)),
            f"doit, 5 builds, {options.pictures} pictures": (doit, large),
            "doit, 5 builds, 6 pictures": (doit, make_large(root / "small", 6)),
            f"{options.pictures} stats": ([sys.executable, "-c", STATS], large),
        }  # fmt: skip
        report(measure(commands, options.runs))


def measure(commands: dict[str, tuple[Sequence[str], Path]], runs: int) -> dict[str, float]:
    """Smallest user + system seconds per command, the commands taken in turns."""
    best: dict[str, float] = {}
    for turn in range(runs + 1):
        for name, (command, folder) in commands.items():
            seconds = cpu_seconds(command, folder)
            if turn:  # the first turn builds what is missing and warms the caches
                best[name] = min(seconds, best.get(name, seconds))
    return best


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """User + system seconds of one run with all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(best: dict[str, float]) -> None:
    """The table, and the differences that matter."""
    for name, seconds in best.items():
        print(f"{name:<40} {seconds:6.3f} s")
    ours, bare, pictures, empty, stats = best.values()
    print(f"\nmore than a bare doit: {ours - bare:.3f} s, ratio {ours / bare:.2f}")
    print(f"a dataset costs {pictures - empty:.3f} s, its stats alone {stats:.3f} s")


def make_workspace(root: Path, builds: int) -> Path:
    """A workspace with builds that need no tool."""
    (root / "recipes").mkdir(parents=True)
    (root / "dodo.py").write_text((REPOSITORY / "dodo.py").read_text())
    (root / "model.tflite").write_bytes(b"1234TFL3")
    for index in range(builds):
        (root / "recipes" / f"r{index}.yaml").write_text(RECIPE.format(name=f"r{index}"))
    return root


def make_bare(root: Path, count: int) -> Path:
    """A dodo.py without us."""
    root.mkdir()
    (root / "dodo.py").write_text(BARE.format(count=count))
    return root


def make_large(root: Path, pictures: int) -> Path:
    """Five builds over one dataset, built once by a stand-in for the tools."""
    from buildsys.engine.session import Session
    from tests.conftest import StandIn, no_environment

    folder = root / "data" / "images" / "train"
    folder.mkdir(parents=True)
    (root / "recipes").mkdir()
    (root / "dodo.py").write_text((REPOSITORY / "dodo.py").read_text())
    (root / "model.onnx").write_bytes(b"onnx")
    (root / "data" / "data.yaml").write_text("train: images/train\nnames: [tag]\n")
    for index in range(pictures):
        (folder / f"{index:06}.jpg").write_bytes(b"%d" % index)
    for index in range(5):
        text = WITH_DATA.format(name=f"d{index}", size=64 + 32 * index)
        (root / "recipes" / f"d{index}.yaml").write_text(text)
    with contextlib.redirect_stderr(io.StringIO()):
        session = Session(root, StandIn(), no_environment)
        session.build(list(session.plans))
        session.close()
    return root


if __name__ == "__main__":
    main()
