"""Engines wait for their GPU: earlier steps are built, and results from elsewhere are used."""

import json
import shutil
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.errors import BuildsysError
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import exit_code, render_table
from buildsys.execution.tools import host_facts
from buildsys.execution.tools.host_facts import HostLibrary
from buildsys.operations.verify import shipped_plan, verify
from tests.conftest import StandIn, no_environment

A100, ORIN, RTX = "tags@nvidia-a100", "tags@jetson-orin", "tags@nvidia-rtx-aot"


@pytest.fixture(autouse=True)
def _recipe(workspace: Path) -> None:
    path = workspace / "recipes" / "tags.yaml"
    head = path.read_text().partition("targets:")[0]
    path.write_text(head + "targets: [nvidia-a100, jetson-orin, nvidia-rtx-aot]\n")


def run(workspace: Path, tools: StandIn, *builds: str) -> dict[str, str]:
    """Build and return the statuses; `tools.ran` holds only this run's steps."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(builds or session.plans))
    session.close()
    if any(row.status.startswith("waiting") for row in rows):
        assert exit_code(rows, bool(builds), False) == (10 if builds else 0)
    return {row.id: row.status for row in rows}


def a_gpu(
    monkeypatch: pytest.MonkeyPatch, version: str, gpu: str = "A100", capability: str = "8.0"
) -> None:
    """Simulate a machine with a driver and the library."""
    here = HostLibrary(
        python="/usr/bin/python3", version=version, file="", gpu=gpu, compute_capability=capability
    )
    monkeypatch.setattr(host_facts, "find_library", lambda *_: here)


def test_everything_before_the_engine_is_built(workspace: Path, tools: StandIn) -> None:
    """Without a GPU all steps before the engine run, and the build waits."""
    statuses = run(workspace, tools)
    assert statuses == {
        A100: "waiting for TensorRT 11.4, compute capability 8.0",
        ORIN: "waiting for TensorRT 10.3, compute capability 8.7",
        RTX: "built",
    }
    assert tools.ran.count("build_engine") == 1
    assert tools.ran.count("quantize_onnx") == 1
    assert tools.ran.count("gate") == 1
    run(workspace, tools)
    assert tools.ran == []


def test_asked_for_by_name_it_is_no_success(workspace: Path, tools: StandIn) -> None:
    """Requested by name, a waiting build gives exit code 10."""
    assert run(workspace, tools, A100) == {
        A100: "waiting for TensorRT 11.4, compute capability 8.0"
    }


@pytest.mark.parametrize(
    ("version", "gpu", "capability", "told"),
    [
        ("10.3.0.30", "A100", "8.0", "TensorRT 10.3.0.30, A100, 8.0"),
        ("11.4.1", "RTX 4090", "8.9", "TensorRT 11.4.1, RTX 4090, 8.9"),
        ("11.40.0", "A100", "8.0", "TensorRT 11.40.0, A100, 8.0"),
        ("", "A100", "8.0", "no TensorRT, A100, 8.0"),
    ],
)
def test_another_host_is_not_taken(
    workspace: Path,
    tools: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    gpu: str,
    capability: str,
    told: str,
) -> None:
    """An engine is not built on a host with another version, GPU or capability."""
    a_gpu(monkeypatch, version, gpu, capability)
    wanted = f"waiting for TensorRT 11.4, compute capability 8.0 (here: {told})"
    assert run(workspace, tools)[A100] == wanted


def test_the_gpu_appears_and_others_restore(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a GPU becomes available, only the engine is built; machines without one restore it."""
    run(workspace, tools)
    with monkeypatch.context() as here:
        a_gpu(here, "11.4.1.2")
        assert run(workspace, tools)[A100] == "built"
        assert tools.ran == ["build_engine", "package_engine", "evaluate_engine"]
    shutil.rmtree(workspace / "build")
    (workspace / ".buildsys" / "state.sqlite").unlink()
    assert run(workspace, tools)[A100] == "restored"
    assert tools.ran == []
    manifest = json.loads((workspace / "build/tags/nvidia-a100/manifest.json").read_text())
    (engine,) = (step for step in manifest["steps"] if step["stage"] == "engine")
    assert engine["tool"] == "TensorRT 11.4"


def test_a_built_engine_is_exported_without_its_waiting_proofs(
    workspace: Path, tools: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build that is done without proofs on a GPU is also exported without them."""
    assert run(workspace, tools, RTX) == {RTX: "built"}
    assert "evaluate_engine" not in tools.ran
    for option in ((), ("--packages-only",)):
        archive = tmp_path / f"results{len(option)}.tar"
        command = ["-C", str(workspace), "store", "export", RTX, "-o", str(archive), *option]
        assert main(command) == 0, capsys.readouterr().err
        assert archive.exists()
    assert main(["-C", str(workspace), "store", "export", A100, "-o", str(archive)]) == 1
    assert "waits for TensorRT 11.4" in capsys.readouterr().err


def test_a_red_gate_is_reported_before_what_is_waited_for(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A red gate is reported instead of waiting for the GPU."""
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("min: 0.1", "min: 0.9"))
    assert "0.9" in path.read_text()
    statuses = run(workspace, tools, A100)
    assert statuses[A100].startswith("rejected by gate")
    kept = sorted(p.name for p in (workspace / "build/.rejected" / A100).iterdir())
    assert kept == ["tags.onnx", "verdict.json"]


@pytest.mark.parametrize("build", [RTX, A100])
def test_no_engine_is_built_of_a_file_that_fails_the_signal_check(
    workspace: Path, tools: StandIn, build: str
) -> None:
    """No engine is built from a file that fails the signal check."""
    tools.red.add("examine_onnx")
    statuses = run(workspace, tools, build)
    assert statuses[build].startswith("rejected by signal")
    assert not {"build_engine", "package_engine"} & set(tools.ran)
    assert tools.ran.count("evaluate_onnx") == 1, "the float file alone"


def plan_of(workspace: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The output of `buildsys plan`."""
    capsys.readouterr()
    assert main(["-C", str(workspace), "plan", *arguments]) == 0
    return capsys.readouterr().out


def test_plan_notes_what_an_engine_will_wait_for_before_the_first_run(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether this machine can build the engine is known before the steps in front of it ran; until
    then the build is stale.
    """
    lacks = "TensorRT 10.3, compute capability 8.7"
    stale, note, *_ = plan_of(workspace, capsys, ORIN).splitlines()
    assert (stale, note) == (f"{ORIN}: stale", f"    a later step may wait for {lacks}")
    assert main(["-C", str(workspace), "plan", "--fail-on", "stale", ORIN]) == 1
    run(workspace, tools)
    assert plan_of(workspace, capsys, ORIN).startswith(f"{ORIN}: waiting for {lacks}")
    assert main(["-C", str(workspace), "plan", "--fail-on", "waiting", ORIN]) == 1
    assert main(["-C", str(workspace), "plan", "--fail-on", "waiting", RTX]) == 0


def test_proofs_that_a_machine_cannot_give_hold_no_build_up(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan --fail-on waiting` ignores proofs that this machine cannot make, as doit does."""
    run(workspace, tools)
    told = plan_of(workspace, capsys, RTX, "--fail-on", "waiting")
    assert told.startswith(
        f"{RTX}: up-to-date\n    not done  evaluate-engine      an NVIDIA GPU of"
    )


def test_beside_what_is_waited_for_stands_what_changed(
    workspace: Path,
    tools: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For a waiting engine that was built before, the reason names what changed and that the
    package is older.
    """
    with monkeypatch.context() as here:
        a_gpu(here, "11.4.1.2")
        run(workspace, tools, A100)
    path = workspace / "recipes" / "tags.yaml"
    text = path.read_text()
    path.write_text(
        text.replace("[nvidia-a100,", "[{target: nvidia-a100, tensorrt: {workspace_gib: 8}},")
    )
    assert path.read_text() != text
    told = plan_of(workspace, capsys, A100)
    line = next(line for line in told.splitlines() if " engine " in line)
    assert line.endswith(
        "TensorRT 11.4, compute capability 8.0; tensorrt.workspace_gib 4 → 8, recipes/tags.yaml:16"
    )
    assert told.count("8, recipes/tags.yaml") == 1, "what follows the engine repeats it"
    assert "an earlier package stays in build/" in told
    session = Session(workspace, tools, no_environment)
    table = render_table(session.build([A100, ORIN]))
    session.close()
    assert f"{A100}: an earlier package stays in build/" in table
    assert table.count("buildsys bundle ") == 1
    assert "2 engines wait for their machines; carry each there, the first: " in table
    assert "earlier" not in (workspace / "build/tags/nvidia-a100/manifest.json").read_text()


def test_an_engine_is_verified_as_far_as_this_machine_can(
    workspace: Path,
    tools: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`verify` compares the steps before the engine and reports that the engine needs a GPU."""
    with monkeypatch.context() as here:
        a_gpu(here, "11.4.1.2")
        run(workspace, tools, A100)
    session = Session(workspace, tools, no_environment)
    found = list(
        verify(session, shipped_plan(session, session.plans[A100]), False, tools, no_environment)
    )
    session.close()
    assert (found[-1].stage, found[-1].verdict) == ("engine", "waits")
    assert found[-1].detail == "for TensorRT 11.4, compute capability 8.0"
    assert {finding.verdict for finding in found[:-1]} == {"byte-equal", "taken from the record"}


class Builder(StandIn):
    """A builder that times kernels: the same network, other bytes each time."""

    def __init__(self, engine: str, version: str = "11.4.1.2") -> None:
        super().__init__()
        self.engine, self.version = engine, version

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        if command.arguments[-2] == "build_engine":
            outputs = json.loads(Path(command.arguments[-1]).read_text())["outputs"]
            Path(outputs["engine"]).write_text(self.engine)
            Path(outputs["engine-facts"]).write_text(json.dumps({"version": self.version}))
        return code


@pytest.mark.parametrize(
    ("version", "verdict"), [("11.4.1.2", "same network"), ("11.4.2.0", "differs")]
)
def test_other_bytes_of_the_same_network(workspace: Path, version: str, verdict: str) -> None:
    """`verify` accepts other engine bytes of the same network, and reports another library."""
    run(workspace, Builder("one"), RTX)
    again = Builder("two", version)
    session = Session(workspace, again, no_environment)
    found = list(
        verify(session, shipped_plan(session, session.plans[RTX]), False, again, no_environment)
    )
    session.close()
    assert next(f for f in found if f.stage == "engine").verdict == verdict
    assert {f.verdict for f in found if f.stage != "engine"} == {
        "byte-equal",
        "taken from the record",
    }


def test_predict_runs_the_file_before_an_engine_that_waits(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict` uses the file before the engine while the engine waits."""
    from buildsys.execution.places import Workspace
    from buildsys.operations import predict

    picture = workspace / "tags" / "images" / "val" / "0.jpg"
    asked = predict.plan_prediction(Workspace(workspace), A100, (picture,), 0.25)
    session = Session(workspace, tools, no_environment, plans=asked.plans)
    with pytest.raises(BuildsysError, match="is not up to date"):
        predict.check_built(session, asked.build)
    session.close()
    run(workspace, tools, A100)
    session = Session(workspace, tools, no_environment, plans=asked.plans)
    predict.check_built(session, asked.build)
    session.close()


def test_a_figure_of_a_build_that_waits(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure for a waiting build is reported as such, not as an unknown name."""
    run(workspace, tools)
    command = ["-C", str(workspace), "import-benchmark", A100, "times.json", "--device", "A100"]
    assert main(command) == 2
    assert f"{A100}: error: waits for TensorRT 11.4, compute" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tags", "tags@nvidia-a100", "tags*"])
@pytest.mark.parametrize("command", ["plan", "verify"])
def test_a_recipe_with_a_mistake_is_reported_by_its_mistake(
    workspace: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A recipe with an error is reported with its error, not as an unknown name."""
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("epochs", "epoch"))
    assert main(["-C", str(workspace), command, name]) == 2
    told = capsys.readouterr().err
    assert "recipes/tags.yaml:9:9: error: unknown key `epoch`" in told
    assert f"{name}: error: cannot be built: its recipe has a mistake, see above" in told


def test_plan_tells_what_is_wrong_with_what_it_was_asked_for(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` prints only the findings of the requested recipes."""
    path = workspace / "recipes" / "tags.yaml"
    text = path.read_text()
    (path.parent / "other.yaml").write_text(
        text.replace("name: tags", "name: other").replace("epochs", "epoch")
    )
    assert main(["-C", str(workspace), "plan", RTX]) == 0
    assert capsys.readouterr().err == ""
    assert main(["-C", str(workspace), "plan"]) == 2
    assert "epoch" in capsys.readouterr().err
