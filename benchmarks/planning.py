"""What it costs to plan many builds: user + system seconds and peak memory, cold and warm.

Recipes of a trained network for ten targets each. Cold: nothing is known of any recipe; warm: every plan
is kept from the run before. Prints what the plans alone cost, and `buildsys plan`, which decides about
every step too; with two numbers of builds, how many times as much the larger one costs.

    python benchmarks/planning.py [--builds 400 4000] [--runs 2]
"""

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.no_op import Cost, cost_of  # noqa: E402
from tests.checkpoints import checkpoint_of  # noqa: E402

TARGETS = (
    "checkpoint",
    "ethos-u55-128-high-end",
    "grove-vision-ai-v2",
    "host",
    "linux-arm64-tflite",
    "nvidia-a100",
    "raspberry-pi-5",
    "triton-onnx",
    "vieureka-vrk-c301",
    "xiao-esp32s3",
)
RECIPE = """\
name: {name}
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {{path: start.bin, sha256: {sha256}}}
dataset: {{format: ultralytics, path: tags/data.yaml}}
input: {{size: {size}}}
train: {{epochs: 2, batch: 4, seed: {seed}}}
quantization: {{scheme: int8, granularity: per-tensor, calibration: {{split: train, count: 3}}}}
evaluate:
  gates: {{box.mAP50-95: {{min: 0.1}}}}
targets:
"""
CHECKPOINT = "  - {target: checkpoint, quantization: {scheme: float32}}\n"
DATA = "train: images/train\nval: images/val\nnames: {0: tag}\nkpt_shape: [4, 3]\nflip_idx: [1, 0, 3, 2]\n"
LOAD = """\
from pathlib import Path
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import load_plans
assert len(load_plans(Workspace(Path.cwd())).plans) == {builds}
"""


def main() -> None:
    """Measure each number of builds, then compare the smallest with the largest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--builds", type=int, nargs="+", default=[400, 4000])
    parser.add_argument("--runs", type=int, default=2, help="of which the cheapest counts")
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    found: list[dict[str, Cost]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BUILDSYS_STORE"] = f"{folder}/store"
        os.environ["XDG_CACHE_HOME"] = f"{folder}/cache"
        os.environ["PYTHONPYCACHEPREFIX"] = f"{folder}/bytecode"
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # compiled once, as where it is installed
        for builds in options.builds:
            root = make_workspace(Path(folder) / str(builds), builds)
            found.append(measure(root, builds, options.runs))
            print(f"\n{builds} builds of {builds // len(TARGETS)} recipes")
            for name, cost in found[-1].items():
                print(f"  {name:<22} {cost.seconds:7.2f} s CPU {cost.memory:7.0f} MiB", flush=True)
    if len(found) > 1:
        print(f"\n{options.builds[-1]} builds against {options.builds[0]}")
        for name, cost in found[-1].items():
            print(f"  {name:<22} {cost.seconds / found[0][name].seconds:7.1f} times")


def measure(root: Path, builds: int, runs: int) -> dict[str, Cost]:
    """The cheapest of several runs by name."""
    load = (sys.executable, "-c", LOAD.format(builds=builds))
    plan = (sys.executable, "-m", "buildsys", "plan")
    best: dict[str, Cost] = {}
    for _ in range(runs):
        shutil.rmtree(root / ".buildsys", ignore_errors=True)
        for name, command in (
            ("plans, cold", load),
            ("plans, warm", load),
            ("buildsys plan, warm", plan),
        ):
            cost = cost_of(command, root)
            known = best.get(name, cost)
            best[name] = Cost(min(cost.seconds, known.seconds), min(cost.memory, known.memory))
    return best


def make_workspace(root: Path, builds: int) -> Path:
    """Recipes for ten targets each, of which no two share a training, over one small dataset."""
    (root / "recipes").mkdir(parents=True)
    start = checkpoint_of("pose")
    (root / "start.bin").write_bytes(start)
    sha256 = hashlib.sha256(start).hexdigest()
    for split in ("train", "val"):
        for kind, name, content in (
            ("images", "0.jpg", "picture"),
            (
                "labels",
                "0.txt",
                "0 0.5 0.5 0.1 0.1 0.45 0.45 2 0.55 0.45 2 0.55 0.55 2 0.45 0.55 2",
            ),
        ):
            folder = root / "tags" / kind / split
            folder.mkdir(parents=True)
            (folder / name).write_text(content)
    (root / "tags" / "data.yaml").write_text(DATA)
    for index in range(max(1, builds // len(TARGETS))):
        name, size = f"r{index:05}", 64 + 32 * (index % 8)
        text = RECIPE.format(name=name, sha256=sha256, size=size, seed=index)
        lines = [CHECKPOINT if t == "checkpoint" else f"  - {t}\n" for t in TARGETS]
        (root / "recipes" / f"{name}.yaml").write_text(text + "".join(lines))
    return root


if __name__ == "__main__":
    main()
