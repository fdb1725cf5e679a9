"""A program that torch has traced is loaded only in the run that traced it."""

import json
import shutil
from pathlib import Path

from buildsys.execution.cluster.placement import needs_of
from buildsys.execution.session.session import Session
from buildsys.graph import build_plans
from tests.conftest import StandIn, no_environment


def _run(workspace: Path, tools: StandIn) -> list[str]:
    """Build everything; the steps that ran."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    session.build(list(session.plans))
    session.close()
    assert not session.executor.failures, session.executor.failures
    return list(tools.ran)


def _forget(workspace: Path) -> None:
    """Leave what another clone has: the recipes and the store."""
    for name in (".buildsys", "build"):
        shutil.rmtree(workspace / name)


def test_a_program_of_a_store_is_never_loaded(
    workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """torch can run code while it loads a program, so the program is traced again before a
    conversion; where nothing has to be converted, its digest is enough.
    """
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("train:", "convert: {tool: litert-torch}\ntrain:"))
    first = _run(workspace, tools)
    assert {"trace_ultralytics", "convert_litert_torch"} <= set(first)
    _forget(workspace)
    assert _run(workspace, tools) == []
    _forget(workspace)
    for entry in (tmp_path / "store" / "actions").glob("*/*.json"):
        if "float-tflite" in {row["name"] for row in _outputs(entry)}:
            entry.unlink()
    again = _run(workspace, tools)
    assert again[:2] == ["trace_ultralytics", "convert_litert_torch"]
    assert not {"train_ultralytics", "quantize_litert_torch"} & set(again)


def _outputs(entry: Path) -> list[dict[str, str]]:
    """The outputs of an action in the store."""
    (text,) = [line for line in entry.read_text().splitlines() if line.startswith("{")]
    found: list[dict[str, str]] = json.loads(text)["outputs"]
    return found


def test_no_worker_gets_a_program(workspace: Path) -> None:
    """Tracing and conversion run on the machine of the run."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("train:", "convert: {tool: litert-torch}\ntrain:"))
    session = Session(workspace)
    here = {
        step.module
        for plan in build_plans(session.plans.values())
        for step in plan.steps
        if needs_of(step, "linux-x86_64") is None
    }
    session.close()
    assert {"trace_ultralytics", "convert_litert_torch"} <= here
    assert "quantize_litert_torch" not in here
