"""A build's evidence: embedded by stage, reported if missing, able to reject."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.execution.session.session import Session
from buildsys.graph import steps_of
from buildsys.report.evidence import facts
from tests.conftest import Build, StandIn, no_environment

GROVE, XIAO = "tags@grove-vision-ai-v2", "tags@xiao-esp32s3"
JUDGES = {"signal", "contract", "parity", "operators", "fit", "gate"}
UNDONE = "Not done: load; qemu-system-arm was not on the machine that built this."


def published(workspace: Path, name: str = "manifest.json", build: str = GROVE) -> Any:
    """A JSON file in a build's folder."""
    recipe, target = build.split("@")
    return json.loads((workspace / "build" / recipe / target / name).read_text())


def rejected(workspace: Path, build: str) -> tuple[list[str], Any]:
    """The names of the files in .rejected, and the verdict."""
    folder = workspace / "build" / ".rejected" / build
    verdict = json.loads((folder / "verdict.json").read_text())
    return sorted(path.name for path in folder.iterdir()), verdict


def statuses(workspace: Path, tools: StandIn) -> dict[str, str]:
    """Build everything and return the statuses."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return {row.id: row.status for row in rows}


def lack_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a machine without the programs."""
    monkeypatch.setattr("buildsys.execution.tools.host_tools.find_program", lambda name: "")


@pytest.mark.usefixtures("built")
def test_a_manifest_embeds_what_every_judge_found(workspace: Path) -> None:
    """A manifest embeds every verdict."""
    evidence = published(workspace)["evidence"]
    assert evidence.keys() == JUDGES | {"load", "overlap", "tflm"}
    assert all(evidence[stage]["passed"] for stage in JUDGES | {"load"})
    assert evidence["fit"]["arena"]["need_bytes"] > 100 * 1024, (
        "and what TFLite Micro takes for itself"
    )
    assert evidence["tflm"]["arena_bytes"] == 100 * 1024
    stages = {step["stage"] for step in published(workspace)["steps"]}
    assert evidence.keys() <= stages
    assert published(workspace, build=XIAO)["evidence"].keys() == JUDGES | {"overlap", "tflm"}


def test_a_proof_that_this_machine_cannot_give_holds_up_nothing(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an emulator the file is built, and its manifest lists the missing load test."""
    with monkeypatch.context() as bare:
        lack_programs(bare)
        assert set(statuses(workspace, tools).values()) == {"built"}
        assert "load_firmware" not in tools.ran
        manifest = published(workspace)
        assert UNDONE in manifest["unverified"]
        assert "load" not in manifest["evidence"]
        assert "load" not in {step["stage"] for step in manifest["steps"]}
        assert UNDONE not in published(workspace, build=XIAO)["unverified"]
        assert set(statuses(workspace, tools).values()) == {"up-to-date"}
        assert tools.ran == []
    # the program is installed
    assert statuses(workspace, tools) == {GROVE: "built", XIAO: "up-to-date"}
    assert tools.ran == ["load_firmware"]
    assert UNDONE not in published(workspace)["unverified"]
    assert published(workspace)["evidence"]["load"]["passed"] is True


def test_a_proof_that_is_lost_where_it_cannot_be_given_again(
    workspace: Path, tools: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store was cleared and the emulator removed, the build succeeds without the load test."""
    statuses(workspace, tools)
    lack_programs(monkeypatch)
    shutil.rmtree(tmp_path / "store")
    shutil.rmtree(workspace / "build")
    assert set(statuses(workspace, tools).values()) == {"built"}
    assert "load_firmware" not in tools.ran
    assert UNDONE in published(workspace)["unverified"]


def test_a_red_load_test_rejects_a_package_that_exists(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A red load test rejects the package, although the package's step does not depend on it."""
    tools.red = {"load_firmware"}
    found = statuses(workspace, tools)
    assert found == {GROVE: "rejected by load: load_firmware says no", XIAO: "built"}
    assert tools.ran.count("package_flash") == 2
    assert not (workspace / "build/tags/grove-vision-ai-v2").exists()
    names, verdict = rejected(workspace, GROVE)
    assert names == ["tags_vela.tflite", "verdict.json"]
    assert (verdict["stage"], verdict["failures"]) == ("load", ["load_firmware says no"])
    assert verdict["evidence"].keys() >= JUDGES | {"load"}
    assert statuses(workspace, tools)[GROVE].startswith("rejected by load")
    assert tools.ran == []
    assert main(["-C", str(workspace), "flash", GROVE, "--dry-run"]) == 11
    assert "rejected by load: there is no shipped file" in capsys.readouterr().err


def test_a_red_load_test_is_not_chosen(workspace: Path, tools: StandIn) -> None:
    """`select` does not choose a build with a red load test."""
    recipe = workspace / "recipes/tags.yaml"
    text = recipe.read_text().split("targets:", maxsplit=1)[0]
    text += (
        "matrix: {input.size: [64, 96]}\nselect: {minimize: bytes}\ntargets: [grove-vision-ai-v2]\n"
    )
    recipe.write_text(text)
    tools.red = {"load_firmware"}
    found = statuses(workspace, tools)
    assert found[GROVE] == "rejected by select: no variant both fits and passes its gates"
    assert not list(workspace.glob("build/*/*/manifest.json"))


@pytest.mark.parametrize("stand", ["doit's order", "one after the other"])
def test_a_red_contract_never_comes_to_the_compiler(
    workspace: Path, tools: StandIn, stand: str
) -> None:
    """A red contract ends the build before the compiler; the file is kept in .rejected."""
    tools.red = {"check_contract"}
    session = Session(workspace, tools, no_environment)
    if stand == "doit's order":  # every step is offered, even if earlier ones failed
        session.prepare([GROVE, XIAO])
        for plan in session.plans.values():
            for step in steps_of(plan):
                session.executor.run_step(step)
            session.publisher.publish(plan)
        rows = session.rows([GROVE, XIAO])
    else:
        rows = session.build([GROVE, XIAO])
    quantized = {
        session.state.store.read(dict(session.state.result(step.id).outputs)["tflite"])  # type: ignore[union-attr]
        for step in steps_of(session.plans[GROVE])
        if step.stage == "quantize"
    }
    session.close()
    for never in ("compile_vela", "bind_outputs", "record_tflm", "load_firmware", "package_flash"):
        assert never not in tools.ran
    told = "rejected by contract: check_contract says no"
    assert {row.id: row.status for row in rows} == {GROVE: told, XIAO: told}
    for build in (GROVE, XIAO):
        names, verdict = rejected(workspace, build)
        assert names == ["tags.tflite", "verdict.json"]
        assert verdict["stage"] == "contract"
        kept = workspace / "build/.rejected" / build / "tags.tflite"
        assert {kept.read_bytes()} == quantized, "the file before its outputs were bound"


@pytest.mark.usefixtures("built")
def test_latency_lies_beside_the_manifest(workspace: Path, build: Build, tools: StandIn) -> None:
    """Latency is in a file beside the manifest, since it differs per machine."""
    before = published(workspace)
    assert not (workspace / "build/tags/xiao-esp32s3/latency.json").exists()
    recipe = workspace / "recipes/tags.yaml"
    recipe.write_text(recipe.read_text() + "benchmark: {threads: 1, runs: 3, warmup: 1}\n")
    ran = build()
    assert sorted(set(ran)) == ["benchmark_onnx", "benchmark_tflite"]
    for name in (GROVE, XIAO):
        entries = published(workspace, "latency.json", name)["entries"]
        assert len(entries) == 2
        # the stand-in's figures are of no file
        assert {entry["of"] for entry in entries} == {"a file from which the shipped one was made"}
        manifest = published(workspace, build=name)
        assert "latency.json" not in manifest["files"]
        assert not {step["module"] for step in manifest["steps"]} & set(ran)
        assert not any("benchmark" in stage for stage in manifest["evidence"])
    assert published(workspace) == before
    assert build() == []


def test_figures_that_explain_lost_objects_are_reported() -> None:
    """The difference of the boxes is reported even if no object was found by both: it is measured
    where the first found one, and says why.
    """
    known = {"from": 2, "to": 0, "in_both": 0, "boxes": {"mean_iou": 0.0964}}
    assert dict(facts(known))["Boxes, mean IoU"] == "0.0964"
