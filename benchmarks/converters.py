"""What each converter costs and what its files are worth, in one run: one table for each recipe.

`python benchmarks/converters.py [--recipe fiducial-pose …] [--tool onnx2tf …]`

Tracing, export, conversion and quantization run anew, one after another, and are measured. What goes
before and behind them (images, training, accuracy, Vela) comes from the store where it is there.
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
from buildsys.registry import converters  # noqa: E402
from buildsys.spec import Format  # noqa: E402
from buildsys.steps.lib.files import tflite  # noqa: E402

TARGET = "grove-vision-ai-v2"
GRANULARITIES = ("per-tensor", "per-channel")
MEASURED = ("export", "trace", "convert", "float", "quantize")
"""Stages between the checkpoint and the file that is quantized."""
_NPU = "ethos-u"
"""The operator that Vela puts in place of all that the NPU computes."""
_RECIPE = """\
name: {name}
extends: _base
convert: {{tool: {tool}}}
quantization: {{granularity: {granularity}}}
targets: [{target}]
"""
_MEASURE = """\
import json, os, sys
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as stream:
    json.dump([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], stream)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one step: seconds of processors, and MiB of memory at its peak."""

    seconds: float
    mib: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build: what its conversion cost, and what its files say."""

    tool: str
    granularity: str
    costs: dict[str, Cost]
    operators: dict[str, int]
    metrics: dict[str, float]
    sram_kib: float
    on_cpu: dict[str, int]


class _Bench:
    """A store of its own, in which steps are made, and the person's, from which others are taken."""

    def __init__(self, root: Path, plans: tuple[BuildPlan, ...], known: State) -> None:
        self.known, self.report = known, root / "cost.json"
        self.state = State(plans, Database(root / "state.sqlite"), Store(root / "store"), Lock())
        self.runner = Runner(Workspace(root), self.state, lambda _: None, self._run)
        self.costs: dict[str, Cost] = {}

    def _run(self, command: process.Command, on_progress: process.OnProgress) -> int:
        wrapped = (sys.executable, "-c", _MEASURE, str(self.report), *command.arguments)
        return process.run_command(dataclasses.replace(command, arguments=wrapped), on_progress)

    def make(self, step: Step) -> None:
        """Take a step's result from the store, or run it."""
        if self.state.result(step.id) is not None:
            return
        action_key = self.state.key(step)
        if action_key is None:
            return
        known = self.known.recall(step, action_key.key) if step.stage not in MEASURED else None
        if known is not None and self.known.holds(step, known):
            trees = {output.name: output.tree for output in step.outputs}
            for name, digest in known.outputs:
                self.known.store.copy_into(self.state.store, digest, trees[name])
            self.state.finish(step, action_key, known)
            return
        self.runner.execute(step, lambda: None, lambda *_: None)
        seconds, mib = json.loads(self.report.read_text(encoding="utf-8"))
        self.costs[step.id] = Cost(seconds=seconds, mib=mib)

    def read(self, step: Step | None, name: str) -> bytes:
        """An output of a step; empty where there is none."""
        found = self.state.result(step.id) if step is not None else None
        return self.state.read(step.id, name) if step is not None and found is not None else b""


def measure(root: Path, base: str, tools: tuple[str, ...]) -> Iterator[Row]:
    """Every converter in every granularity, on one recipe of this repository."""
    workspace, session = _open(root, base, tools)
    try:
        assert not session.loaded.broken, session.loaded.broken
        plans = build_plans(session.loaded.plans)
        bench = _Bench(root / "bench", plans, session.state)
        for plan in plans:
            yield _measure(bench, plan)
    finally:
        session.close()
        shutil.rmtree(workspace)


def _open(root: Path, base: str, tools: tuple[str, ...]) -> tuple[Path, Session]:
    workspace = root / "workspace"
    (workspace / "recipes").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "weights", workspace / "weights")
    shutil.copyfile(REPOSITORY / "recipes" / f"{base}.yaml", workspace / "recipes" / "_base.yaml")
    for tool in tools:
        for granularity in GRANULARITIES:
            name = f"{tool}--{granularity}"
            text = _RECIPE.format(name=name, tool=tool, granularity=granularity, target=TARGET)
            (workspace / "recipes" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return workspace, Session(workspace)


def _measure(bench: _Bench, plan: BuildPlan) -> Row:
    for step in plan.steps:
        if step.stage not in ("package", "load") and not step.stage.startswith("benchmark"):
            bench.make(step)
    steps = {step.stage: step for step in plan.steps}
    checkpoint = json.loads(bench.read(steps.get("evaluate-checkpoint"), "metrics") or "{}")
    metrics = json.loads(bench.read(steps.get("evaluate-tflite"), "metrics") or "{}")
    summary = json.loads(bench.read(steps.get("compile"), "summary") or "{}")
    compiled = bench.read(steps.get("compile"), Format.VELA)
    tool, granularity = plan.recipe.split("--")
    return Row(
        tool=tool,
        granularity=granularity,
        costs={stage: bench.costs[steps[stage].id] for stage in MEASURED if stage in steps},
        operators=dict(tflite.parse(bench.read(steps["quantize"], Format.TFLITE)).operators),
        metrics=_headlines(metrics, "") | _headlines(checkpoint, "checkpoint "),
        sram_kib=summary.get("sram_bytes", 0) / 1024,
        on_cpu={
            name: count
            for name, count in (tflite.parse(compiled).operators if compiled else ())
            if name != _NPU
        },
    )


def _headlines(metrics: dict[str, Any], prefix: str) -> dict[str, float]:
    return {
        prefix + name: value
        for name, value in metrics.get("metrics", {}).items()
        if name.endswith("mAP50-95")
    }


def _print(row: Row) -> None:
    total = sum(cost.seconds for cost in row.costs.values())
    peak = max(cost.mib for cost in row.costs.values())
    parts = ", ".join(f"{stage} {cost.seconds:.1f}" for stage, cost in row.costs.items())
    print(f"{row.tool} {row.granularity}: {total:.1f} CPU s ({parts}), peak {peak:.0f} MiB")
    print("   ", ", ".join(f"{name} {value:.4f}" for name, value in sorted(row.metrics.items())))
    print("   ", sum(row.operators.values()), "operators:", _counted(row.operators))
    print(f"    Vela: {row.sram_kib:.0f} KiB SRAM, on the CPU: {_counted(row.on_cpu)}", flush=True)


def _counted(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items()) or "nothing"


def main() -> int:
    """Print a block for each build as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", action="append", help="of this repository")
    parser.add_argument("--tool", action="append", choices=converters())
    options = parser.parse_args()
    os.environ["BUILDSYS_ISOLATION"] = "none"  # what starts a step is measured with it
    tools = tuple(options.tool or ("onnx2tf", "litert-torch"))
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
