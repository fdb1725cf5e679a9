"""`buildsys import-benchmark`: a device's figure is assigned to the file that ran there, or
refused.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from buildsys import cli
from buildsys.digest import digest_file
from buildsys.errors import InputError
from buildsys.execution.packages import measurements
from buildsys.execution.places import Workspace
from buildsys.steps.lib.metrics.latency import percentile, summarize
from tests.operations import golden

BUILD = "tags@xiao-esp32s3"
LITERT: dict[str, Any] = {
    "model": "/mnt/model.tflite",
    "model_size_mb": 0.0,
    "accelerators": ["CPU"],
    "signature": "serving_default",
    "fully_accelerated": False,
    "num_threads": 2,
    "latency": {
        "init_ms": 7.35,
        "warmup_first_ms": 1.22,
        "warmup_avg_ms": 1.16,
        "num_warmup_runs": 2,
        "avg_ms": 0.97,
        "min_ms": 0.93,
        "max_ms": 1.02,
        "median_ms": 0.98,
        "std_ms": 0.03,
        "p5_ms": 0.94,
        "p95_ms": 1.01,
        "num_runs": 10,
    },
    "throughput_mb_s": 108.49,
}
"""A result of ai-edge-litert 2.3.0's litert-benchmark, with another model's name and size."""
TRTEXEC = """\
[
  { "startEnqMs" : 201.2, "endEnqMs" : 201.3, "startH2dMs" : 201.2, "endH2dMs" : 201.5, "startComputeMs" : 201.5, "endComputeMs" : 203.5, "startD2hMs" : 203.5, "endD2hMs" : 203.6, "h2dMs" : 0.3, "computeMs" : 2, "d2hMs" : 0.1, "latencyMs" : 2.4 }
, { "startEnqMs" : 204.2, "endEnqMs" : 204.3, "startH2dMs" : 204.2, "endH2dMs" : 204.5, "startComputeMs" : 204.5, "endComputeMs" : 208.5, "startD2hMs" : 208.5, "endD2hMs" : 208.6, "h2dMs" : 0.3, "computeMs" : 4, "d2hMs" : 0.1, "latencyMs" : 4.4 }
]
"""
"""As trtexec's exportJSONTrace prints it."""


@pytest.fixture
def published(workspace: Path, built: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose builds are published; it is the working directory."""
    monkeypatch.chdir(workspace)
    return workspace


def write(name: str, **changes: Any) -> str:
    """Write a result of litert-benchmark with some keys changed."""
    data = {**LITERT, **changes}
    Path(name).write_text(json.dumps(data))
    return name


def run(*words: str, device: str = "Raspberry Pi 5") -> int:
    """Run `buildsys import-benchmark` and return its exit code."""
    return cli.main(["import-benchmark", *words, "--device", device])


def test_a_figure_belongs_to_the_published_file(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure gets the published file's digest and a label, and nothing that the tool did not
    report.
    """
    assert run(BUILD, write("pi.json")) == 0
    golden.check("import-benchmark", capsys.readouterr().out)
    sha256 = digest_file(published / "build/tags/xiao-esp32s3/model.tflite")
    found = measurements.entries(Workspace(published), BUILD, sha256)
    (row,) = found.rows()
    assert row == {
        "label": "measured on a device",
        "engine": "litert",
        "version": None,
        "device": "Raspberry Pi 5",
        "threads": 2,
        "runs": 10,
        "warmup": 2,
        "mean_ms": 0.97,
        "min_ms": 0.93,
        "max_ms": 1.02,
        "p50_ms": 0.98,
        "p90_ms": None,
        "p95_ms": 1.01,
        "p99_ms": None,
        "sha256": sha256,
        "format": "tflite",
        "what": "engine only",
        "source": "litert-benchmark",
        "note": "",
        "of": "the shipped file",
    }


def test_figures_of_an_earlier_file_are_kept_apart(published: Path) -> None:
    """Figures of an earlier file are listed separately, never as the published file's."""
    earlier, workspace = "ab" * 32, Workspace(published)
    assert run(BUILD, write("pi.json"), "--sha256", earlier.upper()) == 0
    assert run(BUILD, "pi.json") == 0
    sha256 = digest_file(published / "build/tags/xiao-esp32s3/model.tflite")
    found = measurements.entries(workspace, BUILD, sha256)
    assert [item.sha256 for item in found.current] == [sha256]
    assert [item.sha256 for item in found.earlier] == [earlier]
    after = measurements.entries(workspace, BUILD, "cd" * 32)
    assert [row["of"] for row in after.rows()] == ["an earlier file"] * 2


def test_the_file_is_sorted_and_a_second_figure_replaces_the_first(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second figure replaces the first, and the file's order does not depend on the imports'
    order.
    """
    write("one.json", num_threads=1)
    write("two.json")
    write("gpu.json", accelerators=["GPU", "CPU"])
    run(BUILD, "two.json", device="B")
    run(BUILD, "gpu.json", "one.json", device="A")
    run(BUILD, "two.json", device="A")
    path = published / "measurements" / f"{BUILD}.json"
    before = path.read_bytes()
    rows = json.loads(before)["measurements"]
    assert [(row["device"], row["engine"], row["threads"]) for row in rows] == [
        ("A", "litert", 1),
        ("A", "litert", 2),
        ("A", "litert (GPU, CPU)", 2),
        ("B", "litert", 2),
    ]
    capsys.readouterr()
    assert run(BUILD, "two.json", device="A") == 0
    golden.check("import-benchmark-again", capsys.readouterr().out)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_trtexec_names_no_model_so_the_build_has_to_fit(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """trtexec's result names no model: it is accepted only for a build with an engine."""
    Path("times.json").write_text(TRTEXEC)
    assert run(BUILD, "times.json") == 2
    golden.check("import-benchmark-trtexec-tflite", capsys.readouterr().err)
    publish_engine(published)
    assert run("net@orin", "times.json", device="Orin NX") == 0
    assert "times.json: trtexec's file has no digest" in capsys.readouterr().out
    older = TRTEXEC.replace('"latencyMs"', '"endToEndMs" : 9, "latencyMs"')
    Path("older.json").write_text(older)
    assert run("net@orin", "older.json", device="Xavier") == 0
    new, old = measurements.read(Workspace(published), "net@orin")
    assert (new.mean_ms, new.p50_ms, new.min_ms, new.runs) == (3.0, 3.0, 2.0, 2)
    assert (new.engine, new.threads, new.warmup) == ("tensorrt", None, None)
    assert "no digest" in new.note
    assert "warm-up" not in new.note
    assert "warm-up" in old.note
    assert (new.batch, "unknown batch" in new.note) == (None, True)


def test_trtexec_times_an_engine_of_a_fixed_batch(published: Path) -> None:
    """trtexec's file states no batch: it is recorded where the engine has only one."""
    Path("times.json").write_text(TRTEXEC)
    publish_engine(published, batch=[4, 4, 4])
    assert run("net@orin", "times.json", device="Orin NX") == 0
    (found,) = measurements.read(Workspace(published), "net@orin")
    assert (found.batch, "unknown batch" in found.note) == (4, False)


def test_a_time_of_a_known_batch_replaces_that_of_an_unknown_one(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of trtexec that was imported while the batch was not recorded leaves no second row;
    another tool's figure stays.
    """
    Path("times.json").write_text(TRTEXEC)
    sha256 = publish_engine(published, batch=[4, 4, 4])
    assert run("net@orin", "times.json", device="Orin NX") == 0
    path = published / "measurements" / "net@orin.json"
    (row,) = json.loads(path.read_text())["measurements"]
    del row["batch"]
    path.write_text(json.dumps({"measurements": [row]}))
    Path("4.json").write_text(json.dumps({**ENGINE, "sha256": sha256, "batch": 4}))
    assert run("net@orin", "4.json", device="Orin NX") == 0
    known = measurements.read(Workspace(published), "net@orin")
    assert [(row.source, row.batch) for row in known if row.what == "engine only"] == [
        ("trtexec", None),
        ("benchmark.py", 4),
    ]
    capsys.readouterr()
    assert run("net@orin", "times.json", device="Orin NX") == 0
    assert "replaced: 3 ms, tensorrt on Orin NX, measured before" in capsys.readouterr().out
    known = measurements.read(Workspace(published), "net@orin")
    assert [(row.source, row.batch) for row in known if row.what == "engine only"] == [
        ("trtexec", 4)
    ]


@pytest.mark.parametrize(
    ("name", "library", "told"),
    [
        ("triton/net/1/model.onnx", "", "net@orin ships triton/net/1/model.onnx"),
        ("net.engine", "tensorrt-rtx", "net@orin ships one of TensorRT-RTX"),
    ],
)
def test_trtexec_times_engines_of_tensorrt(
    published: Path, capsys: pytest.CaptureFixture[str], name: str, library: str, told: str
) -> None:
    """trtexec's times are accepted only for engines of TensorRT."""
    Path("times.json").write_text(TRTEXEC)
    publish_engine(published, name, library=library)
    assert run("net@orin", "times.json", device="RTX 4090") == 2
    assert f"trtexec times engines of TensorRT; {told}" in capsys.readouterr().err


def publish_engine(workspace: Path, name: str = "net.engine", **facts: Any) -> str:
    """Publish a build whose package is an engine; return its digest."""
    known = {
        "library": "tensorrt",
        "version": "10.3.0.30",
        "compute_capability": "8.7",
        "batch": [1, 4, 8],
        "version_compatible": False,
        "hardware_compatibility": "none",
    }
    folder = workspace / "build" / "net" / "orin"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"engine")
    sha256 = digest_file(folder / name)
    entry: dict[str, object] = {"bytes": 6, "sha256": sha256}
    (folder / "engine.json").write_text(json.dumps({**known, **facts}))
    write_manifest(folder, {name: entry})
    return sha256


def write_manifest(
    folder: Path, files: dict[str, dict[str, object]], label: str = "", modules: Sequence[str] = ()
) -> None:
    """Write the manifest of an invented package."""
    step: dict[str, object] = dict.fromkeys(("stage", "tool", "tool_lock", "code"), "")
    step |= {"action_key": "0" * 64, "params": {}, "inputs": {}, "outputs": {}}
    manifest: dict[str, object] = {
        "buildsys": "0",
        "build": f"{folder.parent.name}@{folder.name}",
        "target": {"name": folder.name, "label": label},
        "files": files,
        "preprocessing": None,
        "steps": [{**step, "module": module} for module in modules],
        "evidence": {},
        "unverified": [],
        "licences": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


FIGURES = {
    "mean_ms": 9.5,
    "min_ms": 9.0,
    "p50_ms": 9.4,
    "p90_ms": 9.9,
    "p95_ms": 10.0,
    "p99_ms": 10.5,
    "max_ms": 11.0,
}
ENGINE: dict[str, Any] = {
    "tool": "buildsys benchmark.py",
    "model": "triton/net/1/model.plan",
    "format": "engine",
    "engine": "tensorrt",
    "version": "10.3.0.30",
    "machine": "aarch64, Linux 5.15",
    "gpu": "Orin",
    "compute_capability": "8.7",
    "python": "3.10.12",
    "batch": 8,
    "warmup": 20,
    "runs": 200,
    "what": "engine only",
    **FIGURES,
    "end_to_end": {**FIGURES, "mean_ms": 12.5, "min_ms": 12.0, "max_ms": 14.0},
}
"""As templates/engine/benchmark.py writes it; not yet run on a GPU."""


def test_an_engine_has_two_times_a_batch(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine's figures keep batch and kind (engine only, with copies) apart."""
    sha256 = publish_engine(published, "triton/net/1/model.plan")
    Path("8.json").write_text(json.dumps({**ENGINE, "sha256": sha256}))
    Path("1.json").write_text(json.dumps({**ENGINE, "sha256": sha256, "batch": 1}))
    assert run("net@orin", "8.json", "1.json", device="Orin NX") == 0
    golden.check("import-benchmark-engine", capsys.readouterr().out)
    rows = measurements.read(Workspace(published), "net@orin")
    assert [(row.batch, row.what, row.mean_ms) for row in rows] == [
        (1, "end to end", 12.5),
        (1, "engine only", 9.5),
        (8, "end to end", 12.5),
        (8, "engine only", 9.5),
    ]
    assert {(row.engine, row.version, row.threads) for row in rows} == {
        ("tensorrt", "10.3.0.30", None)
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"engine": "litert"}, "`engine` is 'litert'; it is one of tensorrt, tensorrt-rtx"),
        ({"batch": 0}, "`batch` is 0"),
        ({"format": "tflite"}, "of another kind of package than net@orin"),
        ({"end_to_end": {"mean_ms": 1}}, "does not have a number in `min_ms`"),
        ({"batch": 9}, "`batch` is 9; the engine of net@orin takes 1 to 8"),
        (
            {"engine": "tensorrt-rtx"},
            "with TensorRT-RTX; the engine of net@orin is one of TensorRT",
        ),
        ({"version": "10.3.1"}, "with TensorRT 10.3.1; the engine of net@orin is of 10.3.0.30"),
        ({"compute_capability": "8.9"}, "capability 8.9; the engine of net@orin is for 8.7"),
        ({"min_ms": 12.0}, "a mean of 9.5 ms, a least of 12 and a most of 11"),
        ({"max_ms": 9.1}, "a mean of 9.5 ms, a least of 9 and a most of 9.1"),
    ],
)
def test_what_is_no_engines_is_not_taken(
    published: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], told: str
) -> None:
    """Edited results and results of another package are refused."""
    sha256 = publish_engine(published)
    Path("odd.json").write_text(json.dumps({**ENGINE, "sha256": sha256, **change}))
    assert run("net@orin", "odd.json", device="Orin NX") == 2
    assert told in capsys.readouterr().err
    assert not (published / "measurements").exists()


@pytest.mark.parametrize(
    ("facts", "change"),
    [
        ({"version_compatible": True}, {"version": "10.13.0"}),
        ({"hardware_compatibility": "ampere-plus"}, {"compute_capability": "12.0"}),
        ({"compute_capability": ""}, {"compute_capability": "8.0"}),
    ],
)
def test_what_the_engine_loads_on_is_taken(
    published: Path, facts: dict[str, Any], change: dict[str, Any]
) -> None:
    """A result from any version and GPU on which the engine loads is accepted."""
    sha256 = publish_engine(published, **facts)
    Path("new.json").write_text(json.dumps({**ENGINE, "sha256": sha256, **change}))
    assert run("net@orin", "new.json", device="RTX") == 0


def test_a_file_from_before_batches_is_still_read(published: Path) -> None:
    """Files from before batches were recorded are still read."""
    run(BUILD, write("pi.json"))
    path = published / "measurements" / f"{BUILD}.json"
    assert "batch" not in path.read_text()
    assert measurements.read(Workspace(published), BUILD)[0].batch is None


@pytest.mark.parametrize("value", ["NaN", '"::error::x"', "true"])
def test_a_figure_that_is_none_is_named(published: Path, value: str) -> None:
    """An invalid figure is reported by name."""
    run(BUILD, write("pi.json"))
    path = published / "measurements" / f"{BUILD}.json"
    path.write_text(re.sub(r'"mean_ms": [\d.]+', f'"mean_ms": {value}', path.read_text()))
    with pytest.raises(
        InputError,
        match=r"the file does not contain measurements: (NaN is not a number|`measurements.0.mean_ms`)",
    ):
        measurements.read(Workspace(published), BUILD)


PACKAGED: dict[str, Any] = {
    "tool": "buildsys benchmark.py",
    "model": "model.tflite",
    "sha256": "ab" * 32,
    "format": "tflite",
    "engine": "litert",
    "version": "2.1.0",
    "machine": "aarch64, Linux 6.6",
    "python": "3.11.2",
    "threads": 4,
    "warmup": 5,
    "runs": 50,
    "what": "engine only",
    "mean_ms": 9.5,
    "min_ms": 9.0,
    "p50_ms": 9.4,
    "p90_ms": 9.9,
    "p95_ms": 10.0,
    "p99_ms": 10.5,
    "max_ms": 11.0,
    "end_to_end": {"mean_ms": 30.0},
}
"""As templates/linux/benchmark.py writes it; a test with the tools runs it."""


def test_a_package_tells_which_file_ran(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result of a package's program is assigned by the digest of the file that ran."""
    Path("board.json").write_text(json.dumps(PACKAGED))
    assert run(BUILD, "board.json") == 2
    golden.check("import-benchmark-packaged-other", capsys.readouterr().err)
    assert run(BUILD, "board.json", "--sha256", "ab" * 32) == 0
    sha256 = digest_file(published / "build/tags/xiao-esp32s3/model.tflite")
    Path("board.json").write_text(json.dumps({**PACKAGED, "sha256": sha256}))
    assert run(BUILD, "board.json") == 0
    found = measurements.entries(Workspace(published), BUILD, sha256)
    (row,), (earlier,) = found.current, found.earlier
    assert earlier.sha256 == "ab" * 32
    assert (row.engine, row.version, row.threads, row.runs) == ("litert", "2.1.0", 4, 50)
    assert (row.mean_ms, row.p90_ms, row.p99_ms, row.source) == (9.5, 9.9, 10.5, "benchmark.py")


MACHINES = {"a-pc": "x86_64, Linux 6.8.0", "a-board": "Camera 3, aarch64, Linux 6.6"}


@pytest.mark.parametrize("kind", MACHINES)
def test_a_figure_of_a_pc_for_a_board_is_doubted(
    published: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a PC measured a figure for a board, the message names both."""
    folder = published / "build" / "net" / "camera"
    folder.mkdir(parents=True)
    (folder / "net.tflite").write_bytes(b"network")
    sha256 = digest_file(folder / "net.tflite")
    files: dict[str, dict[str, object]] = {"net.tflite": {"bytes": 7, "sha256": sha256}}
    write_manifest(folder, files, "Camera 3", ("convert_tflite", "package_linux"))
    data = {**PACKAGED, "sha256": sha256, "machine": MACHINES[kind]}
    Path("board.json").write_text(json.dumps(data))
    assert run("net@camera", "board.json") == 0
    told = capsys.readouterr()
    golden.check(f"import-benchmark-on-{kind}", told.out + told.err)
    assert measurements.read(Workspace(published), "net@camera")[0].device == "Raspberry Pi 5"


def test_a_machine_of_another_target_is_no_doubt(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a target without a known machine there is no such message; unprintable names are left
    out.
    """
    sha256 = digest_file(published / "build/tags/xiao-esp32s3/model.tflite")
    data = {**PACKAGED, "sha256": sha256, "machine": "x86_64,\x1b[2J\nLinux " + "6" * 500}
    Path("board.json").write_text(json.dumps(data))
    assert run(BUILD, "board.json") == 0
    told = capsys.readouterr()
    assert told.err == ""
    (line,) = [line for line in told.out.splitlines() if "measured on:" in line]
    assert line.startswith("board.json was measured on: x86_64, [2J Linux 666")
    assert len(line) < 200


WRONG: dict[str, str] = {
    "absent": "",
    "no-json": "Inference (avg): 0.97 ms",
    "cut": json.dumps(LITERT)[:-30],
    "nested": "[" * 100_000,
    "other": '{"mean": 3}',
    "empty-list": "[]",
    "no-time": json.dumps({**LITERT, "latency": {"num_runs": 3, "num_warmup_runs": 1}}),
    "no-number": json.dumps(LITERT).replace("0.97", '"fast"'),
    "infinite": json.dumps(LITERT).replace("0.97", "Infinity"),
    "negative": json.dumps(LITERT).replace("0.97", "-1"),
    "threads": json.dumps({**LITERT, "num_threads": "two"}),
    "accelerators": json.dumps({**LITERT, "accelerators": "CPU"}),
    "another-model": json.dumps({**LITERT, "model": "C:\\models\\other.tflite"}),
    "nameless": json.dumps({k: v for k, v in LITERT.items() if k != "model"}),
    "another-size": json.dumps({**LITERT, "model_size_mb": 3.02}),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_message_and_writes_nothing(
    published: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Invalid input is one message, and no figure is written, not even of a valid file."""
    if WRONG[name]:
        Path("result.json").write_text(WRONG[name])
    assert run(BUILD, write("good.json"), "result.json") == 2
    errors = capsys.readouterr().err
    assert errors.count("error:") == 1
    golden.check(f"import-benchmark-{name}", errors)
    assert not (published / "measurements").exists()


def test_what_is_not_published_has_no_figure(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown id, an edited file, an invalid digest and a duplicate are refused."""
    write("pi.json")
    write("copy.json")
    assert run("tags@xiao", "pi.json") == 2
    assert run("tags@../../x", "pi.json") == 2
    assert run(BUILD, "pi.json", "--sha256", "abc") == 2
    assert run(BUILD, "pi.json", "copy.json") == 2
    (published / "build/tags/xiao-esp32s3/model.tflite").write_text("changed")
    assert run(BUILD, "pi.json") == 2
    (published / "build/tags/xiao-esp32s3/manifest.json").write_text("{}")
    assert run(BUILD, "pi.json") == 2
    golden.check("import-benchmark-unpublished", capsys.readouterr().err)
    assert not (published / "measurements").exists()


@pytest.mark.parametrize("device", ["", "  ", "a\x07b", "long " * 40])
def test_a_device_has_a_name(published: Path, device: str) -> None:
    """The device's name is required and must fit in a table."""
    with pytest.raises(SystemExit) as ended:
        run(BUILD, write("pi.json"), device=device)
    assert ended.value.code == 2


def test_damaged_measurements_are_reported_and_left_alone(
    published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged file of measurements, such as an unfinished merge, is reported and not overwritten."""
    run(BUILD, write("pi.json"))
    path = published / "measurements" / f"{BUILD}.json"
    good = path.read_text()
    capsys.readouterr()
    for text in ("<<<<<<< HEAD\n" + good, "[]", good.replace('"note"', '"nota"'), "{}"):
        path.write_text(text)
        assert run(BUILD, "pi.json") == 2
        assert path.read_text() == text
    golden.check("import-benchmark-damaged", capsys.readouterr().err)
    with pytest.raises(InputError):
        measurements.entries(Workspace(published), BUILD, "")


def test_percentiles_are_numpys() -> None:
    """Percentiles interpolate linearly, as NumPy's do."""
    times = [5.0, 1.0, 2.0, 4.0, 3.0]
    assert summarize(times) == {
        "runs": 5,
        "mean_ms": 3.0,
        "min_ms": 1.0,
        "max_ms": 5.0,
        "p50_ms": 3.0,
        "p90_ms": 4.6,
        "p99_ms": 4.96,
    }
    assert percentile([7.0], 99) == 7.0
