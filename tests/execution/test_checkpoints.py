"""Checkpoints are scanned again before a step reads them, regardless of their origin."""

import json
from pathlib import Path

import pytest

from buildsys.errors import StepFailed
from buildsys.execution.running import isolation
from buildsys.execution.running.checkpoints import refuse_code
from buildsys.execution.running.isolation import Isolation, Mechanism
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.graph import BuildPlan, Input, Source
from tests.checkpoints import archive_of
from tests.conftest import StandIn, no_environment
from tests.sample_steps import changed, make_step

_HOSTILE = archive_of(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.")


class TakenOver(StandIn):
    """A training that writes a checkpoint with code in it; `safe`: the modules that load it safely."""

    def __init__(self) -> None:
        super().__init__()
        self.safe: dict[str, bool] = {}

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        outputs = json.loads(Path(command.arguments[-1]).read_text())["outputs"]
        if "checkpoint" in outputs:
            Path(outputs["checkpoint"]).write_bytes(_HOSTILE)
        self.safe[command.arguments[-2]] = "ULTRALYTICS_SAFE_LOAD" in command.environment
        return code


def _run(workspace: Path, tools: StandIn) -> set[str]:
    session = Session(workspace, tools, no_environment)
    rows = session.build(["tags@xiao-esp32s3"])
    session.close()
    return {row.status for row in rows}


def test_what_a_training_made_is_looked_at(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that a training wrote is scanned before the export loads it."""
    tools = TakenOver()
    (status,) = _run(workspace, tools)
    assert status.startswith("failed at ")
    assert tools.ran[-1] != "export_ultralytics"
    said = (
        "the checkpoint: it runs code when it is loaded, beyond what checkpoints hold: os.system"
        " (if you trust who made it, write `trust: code` in `source`"
    )
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert tools.safe["train_ultralytics"]


@pytest.mark.parametrize("name", ["checkpoint", "checkpoint.pt"])
def test_a_checkpoint_is_looked_at_whatever_its_name_ends_in(tmp_path: Path, name: str) -> None:
    """A checkpoint is scanned even if its name has no known ending, as in `weights: {path: best}`."""
    given = Input(name="checkpoint", source=Source(path="/best", label="best", kind="model"))
    step = changed(make_step("export_yolox"), inputs=(given,))
    (tmp_path / name).write_bytes(_HOSTILE)
    with pytest.raises(StepFailed, match="best: it runs code when it is loaded"):
        refuse_code(step, tmp_path, Isolation(mechanism=Mechanism.NONE))


def test_trusted_code_wants_isolation(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without isolation on this machine, a step with trusted code fails with the reason."""
    monkeypatch.setenv("BUILDSYS_ISOLATION", "auto")
    nothing = Isolation(mechanism=Mechanism.NONE, gap="the kernel does not support it")
    monkeypatch.setattr(isolation, "choose", lambda: nothing)
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("  task:", "  trust: code\n  task:"))
    (status,) = _run(workspace, StandIn())
    assert status.startswith("failed at ")
    said = "steps cannot be isolated here: the kernel does not support it. BUILDSYS_ISOLATION=none runs it"
    assert said in capsys.readouterr().err


def test_trust_goes_from_the_recipe_to_every_step(workspace: Path) -> None:
    """Trust applies to every step of the recipe that declares it, and to no other recipe."""
    path = workspace / "recipes" / "tags.yaml"
    (workspace / "recipes" / "more.yaml").write_text(
        path.read_text().replace("tags\n", "more\n", 1)
    )
    path.write_text(path.read_text().replace("  task:", "  trust: code\n  task:"))
    tools = TakenOver()
    assert _run(workspace, tools) == {"built"}
    assert not tools.safe["train_ultralytics"]
    session = Session(workspace, tools, no_environment)
    trusting, other = (session.plans[f"{name}@xiao-esp32s3"] for name in ("tags", "more"))
    session.close()
    assert isinstance(trusting, BuildPlan)
    assert isinstance(other, BuildPlan)
    shared = {step.id for step in trusting.steps} & {step.id for step in other.steps}
    trusted = [step for step in trusting.steps if step.trusts_code]
    assert "export" in {step.stage for step in trusted}
    assert not shared & {step.id for step in trusted}
    assert not any(step.trusts_code for step in other.steps)
