"""Latency with the real runtimes, and real results of litert-benchmark."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.digest import digest_file
from buildsys.errors import StepFailed
from buildsys.execution.packages import measurements
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.state.completed_plans import complete
from buildsys.execution.state.plans import Plans
from buildsys.execution.tools import environments, uv_commands
from buildsys.execution.tools.host_facts import cpu_name
from buildsys.graph import BuildPlan, Input, Source
from buildsys.planning import plan_steps
from buildsys.registry import get_step
from tests.tools.places import copy_workspace, read
from tests.tools.single_steps import run_step

pytestmark = pytest.mark.tools

LOCK = Path(__file__).with_name("litert_benchmark_lock.txt")
"""ai-edge-litert with its benchmark program, which the evaluation's version lacks."""


@pytest.fixture(scope="module")
def bright(bright_place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace with a small network, built as ONNX and as TFLite."""
    root = tmp_path_factory.mktemp("latency") / "bright"
    return copy_workspace(bright_place, root)


def benchmark(root: Path, kind: str, file: Path, name: str = "") -> dict[str, Any]:
    """The step's entry for a file; `name`: the name of the step's input, if not its kind."""
    definition = get_step(f"benchmark_{kind}")
    params = definition.params(threads=1, runs=20, warmup=3, machine=cpu_name())
    name = name or kind
    given = {name: Input(name=name, source=Source(path=str(file), label=file.name))}
    step = plan_steps.make_step("benchmark", definition, params, given, {"latency": False})
    plan = complete(
        BuildPlan(
            build="latency@here",
            recipe="",
            target="",
            label="",
            steps=(step,),
            package=step.id,
            shipped=None,
            verdicts=(),
            notes=(),
            licences=(),
        )
    )
    session = Session(root, plans=Plans.of((plan,)))
    try:
        (step,) = plan.steps
        session.executor.run_step(step)
        result = session.state.result(step.id)
        assert result is not None
        digest = dict(result.outputs)["latency"]
        entry: dict[str, Any] = json.loads(session.state.store.blob(digest).read_bytes())
        return entry
    finally:
        session.close()


@pytest.mark.parametrize(
    ("kind", "folder", "engine"),
    [("tflite", "host", "litert"), ("onnx", "onnx-file", "onnxruntime")],
)
def test_a_figure_says_what_it_is_of(bright: Path, kind: str, folder: str, engine: str) -> None:
    """An entry has runtime, version, kernels, machine, threads, runs and the file's digest."""
    file = bright / "build" / "bright" / folder / f"bright.{kind}"
    entry = benchmark(bright, kind, file)
    told = {key: entry[key] for key in ("label", "engine", "device", "threads", "runs", "warmup")}
    assert told == {
        "label": "measured here",
        "engine": engine,
        "device": cpu_name(),
        "threads": 1,
        "runs": 20,
        "warmup": 3,
    }
    assert (entry["format"], entry["what"], entry["batch"]) == (kind, "engine only", 1)
    assert entry["sha256"] == digest_file(file)
    assert entry["version"][0].isdigit()
    assert "optimiz" in entry["kernels"]
    order = [entry[key] for key in ("min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")]
    assert order == sorted(order)
    assert 0 < entry["min_ms"] <= entry["mean_ms"] <= entry["max_ms"]
    assert benchmark(bright, kind, file) == entry, "the figure is kept, not measured again"


_MEAN = """
import sys
import onnx
from onnx import TensorProto, helper
image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [4, 3, 64, 64])
result = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [4, 3, 1, 1])
node = helper.make_node("GlobalAveragePool", ["images"], ["mean"])
graph = helper.make_graph([node], "g", [image], [result])
made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
onnx.save(made, sys.argv[1])
"""


def test_a_file_for_four_images_has_a_batch(bright: Path, tmp_path: Path) -> None:
    """The entry has the number of images per run; a comparison divides by it."""
    four, one = tmp_path / "four.onnx", bright / "build" / "bright" / "host" / "bright.tflite"
    _, python = environments.ensure("evaluate", print)
    subprocess.run([str(python), "-c", _MEAN, str(four)], check=True)
    assert benchmark(bright, "onnx", four)["batch"] == 4
    quantized = benchmark(bright, "onnx", four, "quantized-onnx")
    assert (quantized["format"], quantized["engine"]) == ("quantized-onnx", "onnxruntime")
    known = {"builds": ["a@host"], "scheme": "", "converter": ""}
    params = {"subjects": [{**known, "format": kind} for kind in ("onnx", "tflite")]}
    counts = {"threads": 1, "runs": 5, "warmup": 1, "machine": "a CPU"}
    record = tmp_path / "comparison.json"
    files = {"file-000": four, "file-001": one}
    run_step(
        tmp_path, "evaluate", "compare_latency", files, {"comparison": record}, params | counts
    )
    rows = read(record)["rows"]
    assert [row["batch"] for row in rows] == [4, 1]
    means = [row["mean_ms"] / row["batch"] for row in rows]
    assert [row["ratio"] for row in rows] == pytest.approx(
        [mean / min(means) for mean in means], rel=0.01
    )


def test_a_file_that_cannot_run_is_a_sentence(bright: Path, tmp_path: Path) -> None:
    """A file that the runtime cannot run, such as Vela's, is reported."""
    bad = tmp_path / "bad.tflite"
    bad.write_bytes(b"\0\0\0\0TFL3 and nothing else")
    with pytest.raises(StepFailed, match=r"bad\.tflite: the file is damaged or cut off"):
        benchmark(bright, "tflite", bad)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no network")
    with pytest.raises(StepFailed, match=r"onnxruntime cannot run bad\.onnx"):
        benchmark(bright, "onnx", bad)


@pytest.fixture(scope="module")
def litert_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """litert-benchmark in its own environment."""
    folder = tmp_path_factory.mktemp("litert") / "env"
    settings = uv_commands.uv_settings(os.environ)
    commands = (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        [
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            "--python",
            str(folder / "bin/python"),
            str(LOCK),
        ],
    )
    for command in commands:
        done = uv_commands.run_command([uv_commands.find_uv(), *command], settings)
        if done.returncode:
            pytest.skip(f"litert-benchmark cannot be had here: {done.stderr.strip()[-300:]}")
    return folder / "bin" / "litert-benchmark"


def test_what_litert_benchmark_writes_is_imported(
    bright: Path, litert_benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result of litert-benchmark for the published file is imported."""
    file = bright / "build" / "bright" / "host" / "bright.tflite"
    on_device = tmp_path / "bright.tflite"
    shutil.copyfile(file, on_device)
    result = tmp_path / "result.json"
    subprocess.run(
        [
            str(litert_benchmark),
            "--model",
            str(on_device),
            "--num_threads",
            "1",
            "--num_runs",
            "10",
            "--warmup_runs",
            "2",
            "--result_json",
            str(result),
        ],
        check=True,
        capture_output=True,
    )
    words = ("-C", str(bright), "import-benchmark", "bright@host", str(result), "--device", "a Pi")
    assert main(words) == 0
    assert "bright.tflite" in capsys.readouterr().out
    found = measurements.entries(Workspace(bright), "bright@host", digest_file(file))
    (entry,) = found.current
    assert (entry.engine, entry.device, entry.threads) == ("litert", "a Pi", 1)
    assert (entry.runs, entry.warmup, entry.label) == (10, 2, "measured on a device")
    on_device.rename(tmp_path / "other.tflite")
    result.write_text(result.read_text().replace("bright.tflite", "other.tflite"))
    assert main(words) == 2
    assert "measured other.tflite; bright@host ships bright.tflite" in capsys.readouterr().err
