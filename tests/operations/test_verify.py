"""`buildsys verify` makes a published file again from its inputs and names the first step that
differs.
"""

import json
import os
import random
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.errors import InputError
from buildsys.execution.running import made_on
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.state.manifests import read_manifest
from buildsys.execution.store.store import Store
from buildsys.execution.tools.host_facts import cpu_name
from buildsys.operations.verify import RebuiltStep, shipped_plan, verify
from tests.conftest import Build, StandIn, no_environment
from tests.damage import flip

BUILD = "tags@grove-vision-ai-v2"


def verdicts(workspace: Path, tools: StandIn, train: bool = False) -> list[RebuiltStep]:
    """One finding for each step that could be compared."""
    session = Session(workspace, tools, no_environment)
    plan = shipped_plan(session, session.plans[BUILD])
    found = list(verify(session, plan, train, tools, no_environment))
    session.close()
    return found


@pytest.mark.usefixtures("built")
def test_equal_bytes_from_nothing(build: Build, workspace: Path, tools: StandIn) -> None:
    """A published file that is made again has equal bytes."""
    manifest = (workspace / "build/tags/grove-vision-ai-v2/manifest.json").read_bytes()
    tools.ran.clear()
    found = verdicts(workspace, tools)
    assert {finding.verdict for finding in found} == {"byte-equal", "taken from the record"}
    assert "train_ultralytics" not in tools.ran
    assert len(tools.ran) == len(found) - 1
    tools.ran.clear()
    assert {finding.verdict for finding in verdicts(workspace, tools, train=True)} == {"byte-equal"}
    assert "train_ultralytics" in tools.ran
    assert (workspace / "build/tags/grove-vision-ai-v2/manifest.json").read_bytes() == manifest
    assert build() == [], "verifying leaves everything as it was"


@pytest.mark.usefixtures("built")
def test_what_one_machine_measured_is_no_part_of_it(
    build: Build, workspace: Path, tools: StandIn
) -> None:
    """Latency, which one machine measured, is not compared."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text() + "benchmark: {runs: 2, warmup: 0}\n")
    build()
    found = verdicts(workspace, tools)
    assert "package" in {finding.stage for finding in found}
    assert all(finding.good for finding in found)


class OtherCompiler(StandIn):
    """A compiler that changed without a change in its lock."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        if command.arguments[-2] == "compile_vela":
            request = json.loads(Path(command.arguments[-1]).read_text())
            Path(request["outputs"]["vela-tflite"]).write_text("other bytes")
        return code


@pytest.mark.usefixtures("built")
def test_every_step_is_compared_by_its_own_doing(workspace: Path) -> None:
    """Each step is run with the published inputs, so that only the step that differs is reported."""
    found = {finding.stage: finding for finding in verdicts(workspace, OtherCompiler())}
    assert found["compile"].verdict == "differs"
    assert found["compile"].detail == "vela-tflite: other bytes"
    assert found["compile"].machines == "the same CPU and kernels on both sides"
    others = {finding.verdict for stage, finding in found.items() if stage != "compile"}
    assert others == {"byte-equal", "taken from the record"}
    assert "package" in found


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("metric", "verdict", "detail"),
    [
        (0.5009, "equal within", "metrics: largest difference 0.00090, at most 0.002"),
        (0.51, "differs", "metrics: largest difference 0.01000, at most 0.002"),
    ],
)
def test_figures_may_differ_a_little(
    workspace: Path, metric: float, verdict: str, detail: str
) -> None:
    """Small differences in figures are accepted."""
    other = StandIn()
    other.metric = metric
    found = verdicts(workspace, other)
    measured = next(finding for finding in found if finding.stage == "evaluate-checkpoint")
    assert (measured.verdict, measured.detail) == (verdict, detail)
    assert "package" in {finding.stage for finding in found}


@pytest.mark.usefixtures("built")
def test_the_machines_are_named_where_they_differ(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If results differ, the differing facts of the machines are listed."""
    monkeypatch.setattr(made_on, "cpu_name", lambda: "Another CPU (x86_64)")
    monkeypatch.setattr(made_on, "instruction_sets", lambda: ("avx2", "fma"))
    (finding, *_) = verdicts(workspace, StandIn())
    assert finding.verdict == "byte-equal"
    assert finding.machines.startswith(f"published by {cpu_name()}")
    assert "; this machine has Another CPU (x86_64)" in finding.machines


@pytest.mark.usefixtures("built")
def test_a_recipe_that_says_something_else_now(workspace: Path, tools: StandIn) -> None:
    """A recipe that changed since the build is refused."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("per-tensor", "per-channel"))
    with pytest.raises(
        InputError, match="the recipe has different parameters now, from quantize on"
    ):
        verdicts(workspace, tools)


@pytest.mark.usefixtures("built")
def test_a_checkpoint_that_was_damaged_in_the_store_is_named(
    workspace: Path, tools: StandIn
) -> None:
    """A damaged checkpoint is reported at the training; `--train` does not need it."""
    manifest = read_manifest(workspace / "build/tags/grove-vision-ai-v2")
    assert manifest is not None
    training = next(step for step in manifest.steps if step.stage == "train")
    store = Store(Path(os.environ["BUILDSYS_STORE"]))
    flip(store.blob(training.outputs["checkpoint"]), random.Random(0))
    finding = verdicts(workspace, tools)[-1]
    assert (finding.stage, finding.verdict) == ("train", "differs")
    said = "the store's copy of the recorded checkpoint is missing or damaged; --train trains again"
    assert finding.detail == said
    assert finding.ends
    assert all(finding.good for finding in verdicts(workspace, tools, train=True))


@pytest.mark.usefixtures("built")
def test_what_this_host_has_no_tools_for_is_passed_by(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps without tools on this host are skipped; the others are compared."""
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = {finding.stage: finding for finding in verdicts(workspace, tools)}
    left_out = [finding for finding in found.values() if finding.verdict == "not run here"]
    assert {finding.detail.partition(" (")[0] for finding in left_out} == {
        "because it needs a host with the tool environment tflite-micro"
    }
    assert found["package"].verdict == "byte-equal"


def test_nothing_to_verify(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A build that was never made is reported in one sentence."""
    assert main(["-C", str(workspace), "verify", BUILD]) == 2
    assert "there is no manifest to compare with" in capsys.readouterr().err
    assert main(["-C", str(workspace), "verify", "tags@*"]) == 2
    assert "names 2 builds" in capsys.readouterr().err
