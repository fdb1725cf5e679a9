"""Engines wait for their GPU: what comes before is built, and what became of it elsewhere is taken."""

import json
import shutil
from pathlib import Path

import pytest

from buildsys.engine.session import Session
from buildsys.engine.summary import exit_code
from buildsys.steps import _tensorrt_host
from buildsys.steps._tensorrt_host import Host
from tests.conftest import StandIn, no_environment

A100, ORIN, RTX = "tags@nvidia-a100", "tags@jetson-orin", "tags@nvidia-rtx-aot"


@pytest.fixture(autouse=True)
def _recipe(workspace: Path) -> None:
    path = workspace / "recipes" / "tags.yaml"
    head = path.read_text().partition("targets:")[0]
    path.write_text(head + "targets: [nvidia-a100, jetson-orin, nvidia-rtx-aot]\n")


def run(workspace: Path, tools: StandIn, *builds: str) -> dict[str, str]:
    """Statuses; `tools.ran` is of this run alone."""
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
    """A machine with a driver and the library."""
    here = Host(python="/usr/bin/python3", version=version, file="", gpu=gpu,
                compute_capability=capability)  # fmt: skip
    monkeypatch.setattr(_tensorrt_host, "find_host", lambda *_: here)


def test_everything_before_the_engine_is_built(workspace: Path, tools: StandIn) -> None:
    """A machine without a GPU refuses to work, or works and says that it failed."""
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
    """A pipeline of CI goes on to deploy what was never built."""
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
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch, version: str, gpu: str,
    capability: str, told: str,
) -> None:  # fmt: skip
    """An engine is built that its target cannot load."""
    a_gpu(monkeypatch, version, gpu, capability)
    wanted = f"waiting for TensorRT 11.4, compute capability 8.0 (here: {told})"
    assert run(workspace, tools)[A100] == wanted


def test_the_gpu_appears_and_others_restore(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what waited is built; a machine without a GPU builds or waits for what it could take."""
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


def test_a_red_gate_is_told_before_what_is_waited_for(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody carries a file to the device that was refused already."""
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("min: 0.1", "min: 0.9"))
    assert "0.9" in path.read_text()
    statuses = run(workspace, tools, A100)
    assert statuses[A100].startswith("rejected by gate")
    kept = sorted(p.name for p in (workspace / "build/.rejected" / A100).iterdir())
    assert kept == ["tags.onnx", "verdict.json"]


@pytest.mark.parametrize("build", [RTX, A100])
def test_no_engine_is_built_of_a_blind_file(workspace: Path, tools: StandIn, build: str) -> None:
    """Minutes of a GPU, or a trip to the device, for a network that sees nothing."""
    tools.red.add("examine_onnx")
    statuses = run(workspace, tools, build)
    assert statuses[build].startswith("rejected by signal")
    assert not {"build_engine", "package_engine"} & set(tools.ran)
    assert tools.ran.count("evaluate_onnx") == 1, "the float file alone"
