"""An engine's accuracy and latency are measured if there is a GPU, and reported as missing
otherwise.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import exit_code
from buildsys.execution.state.settled import SettledBuild
from buildsys.execution.tools import host_facts
from buildsys.execution.tools.host_facts import HostLibrary
from buildsys.report import writing
from buildsys.steps.lib.report.engine_table import groups
from buildsys.steps.lib.report.values import Report
from tests.conftest import StandIn, no_environment
from tests.report.test_report import find, read, text

A100, RTX = "tags@nvidia-a100", "tags@nvidia-rtx-aot"
SINGLE = "tags@single"


class GpuStandIn(StandIn):
    """Writes invented accuracy and latency, as on a machine with a GPU."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        module, request_path = command.arguments[-2:]
        request: dict[str, Any] = json.loads(Path(request_path).read_text())
        outputs, engine = request["outputs"], Path(request["inputs"].get("engine", "/dev/null"))
        if module == "evaluate_engine":
            found = {
                "metrics": {"box.mAP50-95": 0.48},
                "model": {"sha256": "e" * 64},
                "pictures": 3,
                "objects": 3,
                "split": "val",
                "device": "A100, TensorRT 11.4.1",
            }
            Path(outputs["evidence"]).write_text(json.dumps(found))
        if module == "benchmark_engine":
            assert engine.is_file()
            entry = {
                "label": "measured here",
                "engine": "tensorrt",
                "mean_ms": 1.5,
                "min_ms": 1.0,
                "max_ms": 2.0,
                "sha256": "e" * 64,
                "format": "engine",
                "batch": 1,
            }
            entries = [{**entry, "what": what} for what in ("engine only", "end to end")]
            Path(outputs["latency"]).write_text(json.dumps({"entries": entries}))
        return code


@pytest.fixture
def tools() -> GpuStandIn:
    """The stand-in tools."""
    return GpuStandIn()


@pytest.fixture(autouse=True)
def _recipe(workspace: Path) -> None:
    path = workspace / "recipes" / "tags.yaml"
    head = path.read_text().partition("targets:")[0]
    entries = (
        "benchmark: {runs: 20}\ntargets: [nvidia-a100, nvidia-rtx-aot, {target: nvidia-a100, as:"
        " single, quantization: {scheme: float32}}]\n"
    )
    path.write_text(head + entries)


def run(workspace: Path, tools: StandIn) -> tuple[dict[str, str], Report]:
    """Build and return the statuses and the report; a missing GPU must not fail the run."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    writing.finish_run(session, rows)
    session.close()
    assert exit_code(rows, False, False) == 0
    return {row.id: row.status for row in rows}, read(workspace)


def a_gpu(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    """Simulate a machine with a driver and libraries of these versions."""

    def find_library(module: str = "tensorrt") -> HostLibrary:
        return HostLibrary(
            python="/usr/bin/python3",
            version=versions.get(module, ""),
            file="",
            gpu="A100",
            compute_capability="8.0",
        )

    monkeypatch.setattr(host_facts, "find_library", find_library)


def manifest(workspace: Path, build: str) -> dict[str, Any]:
    """The manifest of a published build."""
    path = workspace / "build" / build.replace("@", "/") / "manifest.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_without_a_gpu_the_engine_ships_and_says_what_is_missing(
    workspace: Path, tools: StandIn
) -> None:
    """Without a GPU the engine is published, and its manifest lists the missing proofs."""
    statuses, report = run(workspace, tools)
    assert statuses[RTX] == "built"
    assert not {"evaluate_engine", "benchmark_engine"} & set(tools.ran)
    told = [n for n in manifest(workspace, RTX)["unverified"] if n.startswith("Not done: evaluate")]
    assert told == [
        "Not done: evaluate-engine; an NVIDIA GPU of compute capability 8.0 or later with"
        " TensorRT-RTX 1.7 was not on the machine that built this."
    ]
    shipped = find(report, RTX).shipped
    assert shipped is not None
    assert shipped.name == "quantized-onnx"


def test_where_the_right_library_is_the_engine_is_measured(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine is measured only with its own library; the results are published beside the build."""
    a_gpu(monkeypatch, tensorrt="11.4.1")
    _, report = run(workspace, tools)
    assert tools.ran.count("evaluate_engine") == tools.ran.count("benchmark_engine") == 2
    item = find(report, A100)
    assert item.shipped is not None
    assert (item.shipped.name, dict(item.shipped.metrics)) == ("engine", {"box.mAP50-95": 0.48})
    assert item.shipped.device == "A100, TensorRT 11.4.1"
    assert [(entry.what, entry.batch) for entry in item.latency if entry.format == "engine"] == [
        ("end to end", 1),
        ("engine only", 1),
    ]
    assert manifest(workspace, A100)["evidence"]["evaluate-engine"]["metrics"]
    assert "0.4800" in text(workspace)
    assert any("evaluate" in note for note in manifest(workspace, RTX)["unverified"])


def test_the_gate_does_not_wait_for_a_gpu(
    workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gate judges the same ONNX file on every machine."""
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().replace("min: 0.1", "min: 0.49"))
    a_gpu(monkeypatch, tensorrt="11.4.1")
    statuses, _ = run(workspace, tools)
    assert statuses[A100] == "built"


def test_who_waits_is_in_the_table_with_its_onnx_file(workspace: Path, tools: StandIn) -> None:
    """The report lists waiting engines with their ONNX file, per precision of one network."""
    _, report = run(workspace, tools)
    whole, single = find(report, A100), find(report, SINGLE)
    assert whole.engine is not None
    assert single.engine is not None
    assert (whole.engine.scheme, single.engine.scheme) == ("int8", "float32")
    assert whole.engine.network == single.engine.network != ""
    assert whole.engine.source_bytes > 0
    assert whole.shipped is not None
    assert whole.shipped.name == "quantized-onnx"
    (group,) = (g for g in groups(report) if g.label == "NVIDIA A100 (TensorRT 11.4)")
    assert {(r.facts.scheme, r.file, r.bytes > 0) for r in group.rows} == {
        ("int8", "ONNX", True),
        ("float32", "ONNX", True),
    }
    assert "| waiting for TensorRT 11.4, compute capability 8.0 |" in text(workspace)


def test_the_table_outlives_the_plans(workspace: Path, tools: StandIn) -> None:
    """The row of an up-to-date build is read from its manifest."""
    _, before = run(workspace, tools)
    (workspace / "recipes" / "other.yaml").write_text("name: other\nsorce: {}\n")
    row = SettledBuild(id=RTX, label="label", candidate=False, figures="")
    session = Session(workspace, tools, no_environment, settled={"tags": (row,)})
    settled = writing.gather(session, [])
    session.close()
    assert find(settled, RTX).engine == find(before, RTX).engine
    assert find(before, RTX).engine is not None
