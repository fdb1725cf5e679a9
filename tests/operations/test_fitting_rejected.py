"""`buildsys fit` for a file that is rejected before the compiler."""

from pathlib import Path

import pytest

from buildsys.errors import Rejected
from buildsys.execution.session.session import Session
from buildsys.execution.state.completed_plans import complete
from buildsys.execution.state.plans import Plans
from buildsys.graph import BuildPlan, Input, Source
from buildsys.operations import fit
from buildsys.planning import plan_steps
from buildsys.registry import read_step
from buildsys.steps import compile_vela, gate
from tests.conftest import StandIn, no_environment


def test_what_a_verdict_rejects_says_so(workspace: Path) -> None:
    """A file that a verdict rejects is reported with that verdict, not as too large."""
    (workspace / "metrics.json").write_text('{"metrics": {"box": 0.1}}')
    (workspace / "model.tflite").write_text("model")
    metrics, model = (
        Input(name=name, source=Source(path=str(workspace / name), label=name))
        for name in ("metrics.json", "model.tflite")
    )
    thresholds = (gate.Threshold(metric="box", min=0.5, max_drop=None),)
    judge = plan_steps.make_step(
        "contract",
        read_step(gate),
        gate.Params(thresholds=thresholds),
        {"metrics": metrics, "baseline": metrics},
        {"verdict": False},
    )
    params = compile_vela.Params(
        version="4.5", accelerator="ethos-u55-64", system_config="", memory_mode="", optimise="Size"
    )
    verdict = Input(name="verdict", step=judge.id, output="verdict")
    compiler = plan_steps.make_step(
        "compile",
        read_step(compile_vela),
        params,
        {"tflite": model, "verdict": verdict},
        {"vela-tflite": False, "summary": False},
    )
    plan = BuildPlan(
        build="tags@board at 64 px",
        recipe="",
        target="",
        label="",
        steps=(judge, compiler),
        package=compiler.id,
        shipped=None,
        verdicts=(),
        notes=(),
        licences=(),
    )
    session = Session(workspace, StandIn(), no_environment, plans=Plans.of((complete(plan),)))
    with pytest.raises(Rejected, match="64 px is rejected by contract before its memory is known"):
        fit.measure_need(complete(plan), session)
    session.close()
