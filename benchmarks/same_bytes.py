"""Every artifact of a tiny chain of both families, made natively and under emulated CPUs: one table.

`python benchmarks/same_bytes.py [--cpu EPYC-Rome] [--size 64] [--once] [--keep FOLDER] [MODULE …]`

Each step runs on the artifacts that were made natively, so that each row stands for itself. Emulation is
qemu's of user programs (Debian: qemu-user); it takes ten to twenty times as long.
"""

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from buildsys.errors import BuildsysError  # noqa: E402
from buildsys.execution.places import Workspace  # noqa: E402
from buildsys.execution.running import process  # noqa: E402
from buildsys.execution.running.runner import Runner  # noqa: E402
from buildsys.execution.session.session import Session  # noqa: E402
from buildsys.execution.state.database import Database  # noqa: E402
from buildsys.execution.state.decide import State  # noqa: E402
from buildsys.execution.store.store import Store  # noqa: E402
from buildsys.graph import BuildPlan, Step, build_plans  # noqa: E402
from buildsys.lockfile import Lock  # noqa: E402

EMULATOR = "qemu-x86_64"
RECIPES = {
    "pose": """\
name: pose
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {path: start.pt, sha256: 0f62de6c7aed069bb4b1bce691b1633f2a1ad512289bf5996a3d02fb134c8633}
dataset: {generator: fiducials, train: 4, val: 2, size: SIZE, min_side: 16, max_side: 24}
input: {size: SIZE}
train: {epochs: 1, batch: 2, seed: 0, threads: 2, quantization_aware: per-tensor, validate: true}
export: {opset: 13}
quantization:
  scheme: int8
  granularity: per-tensor
  io: int8
  calibration: {split: train, count: 2}
evaluate: {split: val}
targets: [{target: grove-vision-ai-v2, firmware: unchecked}]
""",
    "pose-onnx": """\
name: pose-onnx
extends: pose
quantization: {scheme: int8, granularity: per-channel, io: float32}
targets: [triton-onnx]
""",
    "torch": """\
name: torch
extends: pose
convert: {tool: litert-torch}
""",
    "shapes": """\
name: shapes
source: {family: yolox, task: detect, architecture: yolox-nano, weights: random}
dataset: {generator: shapes, format: coco, train: 4, val: 2, size: SIZE}
input: {size: SIZE}
train: {epochs: 1, batch: 2, seed: 0, threads: 2, mosaic: 0.5, validate: true}
export: {opset: 13, head: split}
quantization: {scheme: float16}
evaluate: {split: val}
convert: {tool: onnx-tf}
targets: [linux-arm64-tflite]
""",
}
"""By name. Plans are in the order of names: what is made once is made of `pose`, whose files come from
the converter of most recipes.
"""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a step made on one CPU: digests by the name of the output, in seconds of processors."""

    digests: dict[str, str]
    seconds: float
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One step on every CPU; the first is this machine's."""

    stage: str
    module: str
    made: tuple[Made, ...]

    @property
    def equal(self) -> bool:
        """Whether two or more CPUs made something, and all of them the same bytes."""
        first, *others = self.made
        alike = all(each.digests == first.digests and not each.error for each in self.made)
        return bool(first.digests and others) and alike


def emulated(cpu: str) -> process.CommandRunner:
    """A runner of commands under an emulated CPU."""
    emulator = shutil.which(EMULATOR)
    assert emulator is not None

    def run(command: process.Command, on_progress: process.OnProgress) -> int:
        arguments = (emulator, "-cpu", cpu, *command.arguments)
        return process.run_command(dataclasses.replace(command, arguments=arguments), on_progress)

    return run


class _Place:
    """A store of its own, and what runs steps over it."""

    def __init__(
        self, root: Path, plans: tuple[BuildPlan, ...], run: process.CommandRunner
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.database = Database(root / "state.sqlite")
        self.state = State(plans, self.database, Store(root / "store"), Lock())
        self.runner = Runner(Workspace(root), self.state, lambda _: None, run)

    def make(self, step: Step) -> Made:
        """Run a step, or say what kept it from running."""
        started = _spent()
        if self.state.key(step) is None:
            return Made(digests={}, seconds=0.0, error="what it reads was not made")
        try:
            self.runner.execute(step, lambda: None, lambda *_: None)
        except BuildsysError as error:
            return Made(digests={}, seconds=_spent() - started, error=str(error))
        result = self.state.result(step.id)
        assert result is not None
        return Made(digests=dict(result.outputs), seconds=_spent() - started)

    def take(self, step: Step, other: "_Place") -> None:
        """What another place made of a step, as what this one made."""
        result, action_key = other.state.result(step.id), self.state.key(step)
        if result is None or action_key is None:
            return
        trees = {output.name: output.tree for output in step.outputs}
        for name, digest in result.outputs:
            other.state.store.copy_into(self.state.store, digest, trees[name])
        self.state.finish(step, action_key, result)


def _spent() -> float:
    """Seconds that processors have worked for children of this process that ended."""
    times = os.times()
    return times.children_user + times.children_system


def compare(
    root: Path,
    cpus: Iterable[str],
    size: int,
    modules: frozenset[str] = frozenset(),
    once: bool = False,
) -> Iterator[Compared]:
    """Each step that promises bytes, in order, on pictures of `size` pixels a side.

    `modules`: the steps that run emulated, all if none; `once`: of each module the first alone.
    """
    workspace = make_workspace(root / "workspace", size)
    os.environ["BUILDSYS_ISOLATION"] = "none"  # system calls that qemu does not pass on
    os.environ["BUILDSYS_STORE"] = str(root / "plans")
    session = Session(workspace)
    assert not session.loaded.broken, session.loaded.broken
    plans = build_plans(session.loaded.plans)
    native = _Place(root / "native", plans, process.run_command)
    others = [_Place(root / cpu, plans, emulated(cpu)) for cpu in cpus]
    steps = {step.id: step for plan in plans for step in plan.steps}
    wanted = _wanted(steps, modules, once)
    needed = _needed(steps, wanted)
    for step in steps.values():
        if step.id not in needed:
            continue
        made = [native.make(step)]
        made += [place.make(step) for place in others if step.id in wanted]
        for place in others:
            place.take(step, native)
        if step.id in wanted:
            yield Compared(stage=step.stage, module=step.module, made=tuple(made))
    session.close()


def _wanted(steps: dict[str, Step], modules: frozenset[str], once: bool) -> set[str]:
    """The steps that are compared, see `compare`."""
    found: dict[str, list[str]] = {}
    for step in steps.values():
        if not (step.local or step.requires) and (not modules or step.module in modules):
            found.setdefault(step.module, []).append(step.id)
    return {each for ids in found.values() for each in (ids[:1] if once else ids)}


def _needed(steps: dict[str, Step], wanted: set[str]) -> set[str]:
    """Some steps, and all that they need."""
    needed = set(wanted)
    for step in reversed(steps.values()):
        if step.id in needed:
            needed |= {item.step for item in step.inputs if item.step}
    return needed


def make_workspace(root: Path, size: int) -> Path:
    """The recipes, for pictures of `size` pixels a side, and the start weights."""
    (root / "recipes").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REPOSITORY / "weights" / "fiducials-start.pt", root / "start.pt")
    for name, text in RECIPES.items():
        (root / "recipes" / f"{name}.yaml").write_text(
            text.replace("SIZE", str(size)), encoding="utf-8"
        )
    return root


def main() -> int:
    """Print the table as it grows; 1 where an artifact differs or a module has no step, 2 without an
    emulator.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", action="append", help="of qemu's, Haswell if none is given")
    parser.add_argument("--size", type=int, default=64, help="of the pictures, in pixels")
    parser.add_argument("--once", action="store_true", help="of each module only its first step")
    parser.add_argument("--keep", type=Path, help="a folder to work in, which is left there")
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="steps to emulate, all if none"
    )
    options = parser.parse_args()
    if shutil.which(EMULATOR) is None:
        print(f"{EMULATOR} is not installed (Debian: qemu-user)", file=sys.stderr)
        return 2
    cpus = tuple(options.cpu or ["Haswell"])
    with tempfile.TemporaryDirectory() as folder:
        differ = 0
        root, modules = options.keep or Path(folder), frozenset(options.modules)
        without = set(modules)
        for row in compare(root, cpus, options.size, modules, options.once):
            differ += not row.equal
            without.discard(row.module)
            _print(row, ("native", *cpus))
        for module in sorted(without):
            print(f"{module}: no step of it in these builds", file=sys.stderr)
    return 1 if differ or without else 0


def _print(row: Compared, cpus: tuple[str, ...]) -> None:
    seconds = ", ".join(f"{each.seconds:.1f}" for each in row.made)
    print(
        f"{row.stage} ({row.module}): {'equal' if row.equal else 'DIFFERS'}; {seconds} s",
        flush=True,
    )
    for cpu, each in zip(cpus, row.made, strict=True):
        if each.error:
            print(f"    {cpu:<12} {each.error}")
        for name, digest in each.digests.items():
            print(f"    {cpu:<12} {name:<16} {digest[:16]}")


if __name__ == "__main__":
    sys.exit(main())
