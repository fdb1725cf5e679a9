"""Measure the CPU time and memory of each converter, and the accuracy and operators of its files.

`python benchmarks/converters.py [--recipe fiducial-pose …] [--tool onnx2tf …]`

Tracing, export, conversion and quantization always run, one after another, and are measured. The results
of other steps (images, training, accuracy, Vela) are taken from the store if it has them.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.no_op import METER, Cost, read_cost  # noqa: E402
from buildsys.errors import BuildsysError, InputError  # noqa: E402
from buildsys.execution.places import Workspace  # noqa: E402
from buildsys.execution.running import process  # noqa: E402
from buildsys.execution.running.runner import Runner  # noqa: E402
from buildsys.execution.session.session import Session  # noqa: E402
from buildsys.execution.state.database import Database  # noqa: E402
from buildsys.execution.state.decide import State  # noqa: E402
from buildsys.execution.store.store import Store  # noqa: E402
from buildsys.graph import BuildPlan, Step, build_plans  # noqa: E402
from buildsys.lockfile import Lock  # noqa: E402
from buildsys.registry import converters  # noqa: E402
from buildsys.spec import HEADLINES, Format  # noqa: E402
from buildsys.steps.lib.files import tflite  # noqa: E402

_TARGET = "grove-vision-ai-v2"
_GRANULARITIES = ("per-tensor", "per-channel")
_WAY = ("export", "trace", "convert", "quantize")
"""Stages from the checkpoint to the quantized file."""
_SHOWN = (*_WAY, "evaluate-checkpoint", "evaluate-tflite", "compile")
"""Stages whose cost or result is printed."""
_NPU = "ethos-u"
"""The operator by which Vela replaces all operators that run on the NPU."""
_RECIPE = """\
name: {name}
extends: _base
convert: {{tool: {tool}}}
quantization: {{granularity: {granularity}}}
targets: [{target}]
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build: the cost of its steps by stage, the operators of its files, and its accuracy.

    `operators`: of the quantized file. `on_cpu`: those of the compiled file that do not run on the NPU.
    """

    tool: str
    granularity: str
    costs: dict[str, Cost]
    operators: dict[str, int]
    metrics: dict[str, float]
    sram_kib: float
    on_cpu: dict[str, int]


class _Bench:
    """Makes steps in a store of its own; takes results of steps that are not measured from `known`."""

    def __init__(self, root: Path, plans: tuple[BuildPlan, ...], known: State) -> None:
        self.known, self.report = known, root / "cost.txt"
        self.state = State(plans, Database(root / "state.sqlite"), Store(root / "store"), Lock())
        self.runner = Runner(Workspace(root), self.state, lambda _: None, self._run)
        self.costs: dict[str, Cost] = {}

    def _run(self, command: process.Command, on_progress: process.OnProgress) -> int:
        wrapped = (sys.executable, "-SE", "-c", METER, str(self.report), *command.arguments)
        return process.run_command(dataclasses.replace(command, arguments=wrapped), on_progress)

    def make(self, step: Step) -> None:
        """Take a step's result from the store, or run it.

        Raises BuildsysError if an input is unknown.
        """
        if self.state.result(step.id) is not None:
            return
        action_key = self.state.key(step)
        if action_key is None:
            raise BuildsysError(f"{step.id} cannot run: an input of it has no result")
        known = self.known.recall(step, action_key.key) if step.stage not in _WAY else None
        if known is not None and self.known.holds(step, known):
            trees = {output.name: output.tree for output in step.outputs}
            for name, digest in known.outputs:
                self.known.store.copy_into(self.state.store, digest, trees[name])
            self.state.finish(step, action_key, known)
            return
        self.runner.execute(step, lambda: None, lambda *_: None)
        self.costs[step.id] = read_cost(self.report)

    def read(self, step: Step | None, name: str) -> bytes:
        """Return the bytes of a step's output; empty without the step."""
        return self.state.read(step.id, name) if step is not None else b""


def measure(root: Path, base: str, tools: tuple[str, ...]) -> Iterator[Row]:
    """Yield a row for each converter and granularity, for one recipe of this repository."""
    variants = {
        f"{tool}--{granularity}": (tool, granularity)
        for tool in tools
        for granularity in _GRANULARITIES
    }
    session = _open(root / "workspace", base, variants)
    try:
        if session.loaded.broken:
            raise InputError(*session.loaded.diagnostics)
        plans = build_plans(session.loaded.plans)
        bench = _Bench(root / "bench", plans, session.state)
        for plan in plans:
            yield _measure(bench, plan, *variants[plan.recipe])
    finally:
        session.close()


def _open(workspace: Path, base: str, variants: dict[str, tuple[str, str]]) -> Session:
    """Return a session of a workspace with one recipe for each variant: name -> tool, granularity."""
    (workspace / "recipes").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "weights", workspace / "weights")
    shutil.copyfile(REPOSITORY / "recipes" / f"{base}.yaml", workspace / "recipes" / "_base.yaml")
    for name, (tool, granularity) in variants.items():
        text = _RECIPE.format(name=name, tool=tool, granularity=granularity, target=_TARGET)
        (workspace / "recipes" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return Session(workspace)


def _measure(bench: _Bench, plan: BuildPlan, tool: str, granularity: str) -> Row:
    for step in _needed(plan):
        bench.make(step)
    steps = {step.stage: step for step in plan.steps}
    checkpoint = json.loads(bench.read(steps.get("evaluate-checkpoint"), "metrics") or "{}")
    metrics = json.loads(bench.read(steps.get("evaluate-tflite"), "metrics") or "{}")
    summary = json.loads(bench.read(steps.get("compile"), "summary") or "{}")
    compiled = bench.read(steps.get("compile"), Format.VELA)
    return Row(
        tool=tool,
        granularity=granularity,
        costs={stage: bench.costs[steps[stage].id] for stage in _WAY if stage in steps},
        operators=dict(tflite.parse(bench.read(steps["quantize"], Format.TFLITE)).operators),
        metrics=_headlines(metrics, "") | _headlines(checkpoint, "checkpoint "),
        sram_kib=summary.get("sram_bytes", 0) / 1024,
        on_cpu={
            name: count
            for name, count in (tflite.parse(compiled).operators if compiled else ())
            if name != _NPU
        },
    )


def _needed(plan: BuildPlan) -> list[Step]:
    """Return the steps whose cost or result is printed, and those on which they depend, in order."""
    needed: list[Step] = []
    wanted: set[str] = set()
    for step in reversed(plan.steps):
        if step.stage in _SHOWN or step.id in wanted:
            needed.insert(0, step)
            wanted.update(item.step for item in step.inputs)
    return needed


def _headlines(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        prefix + HEADLINES[name]: value
        for name, value in metrics.get("metrics", {}).items()
        if name in HEADLINES
    }


def _print(row: Row) -> None:
    total = sum(cost.seconds for cost in row.costs.values())
    peak = max(cost.memory for cost in row.costs.values())
    parts = ", ".join(f"{stage} {cost.seconds:.1f}" for stage, cost in row.costs.items())
    print(f"{row.tool} {row.granularity}: {total:.1f} CPU s ({parts}), peak {peak:.0f} MiB")
    if row.metrics:
        print(
            "   ", ", ".join(f"{name} {value:.4f}" for name, value in sorted(row.metrics.items()))
        )
    print("   ", sum(row.operators.values()), "operators:", _counted(row.operators))
    print(f"    Vela: {row.sram_kib:.0f} KiB SRAM, on the CPU: {_counted(row.on_cpu)}", flush=True)


def _counted(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items()) or "nothing"


def main() -> int:
    """Print a block of lines for each build when it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--recipe",
        action="append",
        help="a recipe of this repository; default: fiducial-pose and fiducial-detect",
    )
    parser.add_argument(
        "--tool", action="append", choices=converters(), help="a converter; default: all"
    )
    options = parser.parse_args()
    os.environ["BUILDSYS_ISOLATION"] = "none"  # it would be measured with each step
    tools = tuple(options.tool or converters())
    for base in options.recipe or ["fiducial-pose", "fiducial-detect"]:
        print(base)
        with tempfile.TemporaryDirectory() as folder:
            try:
                for row in measure(Path(folder), base, tools):
                    _print(row)
            except BuildsysError as error:
                print(f"    {error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
