"""`buildsys bundle` and `buildsys import`: an engine is built on another machine and imported.

The tools and the device are stand-ins; the engine is arbitrary bytes. The real builder, in an
environment without buildsys, is tested in tests/tools/test_bundle.py.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.errors import InputError, Rejected
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.operations import bundle as bundles
from buildsys.steps import build_engine
from tests import given_models
from tests.conftest import StandIn, no_environment
from tests.execution.packages.test_judged_again import contradict
from tests.operations import golden

Capture = pytest.CaptureFixture[str]
Place = tuple[Path, Path]
JETSON = "tags@jetson-orin"
RTX = "tags@nvidia-rtx-aot"
CALIBRATED = "tags@calibrated"
ENTRIES = """\
  - jetson-orin
  - nvidia-rtx-aot
  - {target: jetson-orin, as: calibrated, tensorrt: {int8: calibrator}}
  - nvidia-local
"""
FACTS: dict[str, Any] = {
    "library": "tensorrt",
    "version": "10.3.0.30",
    "compute_capability": "8.7",
    "gpu": "Orin",
    "system": "linux-aarch64",
    "inputs": [{"name": "images", "shape": [1, 3, 64, 64], "dtype": "FLOAT"}],
    "outputs": [{"name": "box", "shape": [1, 64, 64], "dtype": "FLOAT"}],
}
TRTEXEC = [{"computeMs": 2.0, "latencyMs": 2.4}, {"computeMs": 4.0, "latencyMs": 4.4}]


@pytest.fixture
def recipe(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe `tags` for engines; the workspace is the working directory."""
    path = workspace / "recipes" / "tags.yaml"
    path.write_text(path.read_text().partition("  - grove")[0] + ENTRIES)
    monkeypatch.chdir(workspace)
    return path


def bundle(workspace: Path, tools: StandIn, build: str, target: Path) -> Path:
    """Make a bundle with the stand-in tools."""
    place = Workspace(workspace)
    remote = bundles.plan_remote_build(place, build)
    session = bundles.open_session(place, remote, tools, no_environment)
    try:
        return bundles.make(session, remote, target).folder
    finally:
        session.close()


def build_there(folder: Path, **facts: Any) -> Path:
    """Write what build.py writes on a device; return the result's folder."""
    told = json.loads((folder / "bundle.json").read_text())
    result = folder / "result"
    shutil.rmtree(result, ignore_errors=True)
    result.mkdir()
    (result / "model.engine").write_bytes(b"an engine")
    (result / "facts.json").write_text(json.dumps({**FACTS, **facts}))
    if told["request"]["pictures"]:
        (result / "calibration.cache").write_bytes(b"scales")
    if told["request"]["timing_cache"]:
        (result / "timing-caches").mkdir()
        (result / "timing-caches" / "tensorrt-10.3.0.30-8.7.cache").write_bytes(b"many timings")
    shutil.copyfile(folder / "bundle.json", result / "bundle.json")
    sign(result, told["build"])
    return result


def sign(result: Path, build: str) -> None:
    """Write result.json for the files in the folder."""
    digests = {
        path.relative_to(result).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(result.rglob("*"))
        if path.is_file() and path.name not in ("result.json", "benchmark.json")
    }
    told = {
        "format": 1,
        "build": build,
        "seconds": 300.5,
        "bundle": digests.pop("bundle.json"),
        "files": digests,
    }
    (result / "result.json").write_text(json.dumps(told))


def ship(workspace: Path, tools: StandIn, build: str) -> tuple[str, list[str]]:
    """Run `doit build:ID`; return the status and the modules that ran."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    (row,) = session.build([build])
    session.close()
    return row.status, list(tools.ran)


def test_a_bundle_has_all_that_the_device_needs(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """A bundle has every file that the device needs, and no engine is built or judged here."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "build.py",
        "bundle.json",
        "separate_process.py",
        "engine_calibration.py",
        "engine_program.py",
        "engine_weakly_typed.py",
        "model.onnx",
        "timing-caches",
    }
    told = json.loads((folder / "bundle.json").read_text())
    assert {"build_engine", "package_engine", "gate"}.isdisjoint(tools.ran)
    assert "quantize_onnx" in tools.ran
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    assert told["files"]["model.onnx"] == digest
    request = told["request"]
    assert (request["version"], request["compute_capability"], request["gpu"]) == (
        "10.3",
        "8.7",
        "Orin",
    )
    assert (request["typed"], request["pictures"], request["timing_cache"]) == (
        True,
        "",
        "timing-caches",
    )
    assert str(workspace) not in (folder / "bundle.json").read_text()
    first = {path.name: path.read_bytes() for path in folder.glob("*.*")}
    again = bundle(workspace, tools, JETSON, folder)
    assert {path.name: path.read_bytes() for path in again.glob("*.*")} == first
    golden.check("bundle-readme", (folder / "README.md").read_text())


def test_trtexec_runs_the_optimum_of_a_dynamic_batch(tmp_path: Path) -> None:
    """trtexec runs a dynamic batch with 1 unless its shape is given, and refuses that of a fixed
    one.
    """
    edge = given_models.Edge(name="input.1", shape=("batch", 3, 64, 96))
    (tmp_path / "model.onnx").write_bytes(given_models.onnx_bytes(inputs=(edge,)))
    option = bundles.shapes_option(tmp_path / "model.onnx", (1, 4, 8))
    assert option == "--shapes=input.1:4x3x64x96"
    assert bundles.shapes_option(tmp_path / "model.onnx", (4, 4, 4)) == ""
    params = build_engine.Params(
        library="tensorrt",
        version="10.3",
        compute_capability="8.7",
        workspace_gib=1,
        optimization_level=3,
        version_compatible=False,
        hardware_compatibility="none",
        scheme="float16",
        batch=(1, 4, 8),
    )
    readme = bundles.BundleReadme(
        build=JETSON,
        label="Orin",
        install="JetPack",
        params=params,
        gpu="Orin",
        shapes=option,
        files=(),
    )
    text = bundles.describe(readme)
    assert f"--exportTimes=result/benchmark.json {option}\n" in text
    assert "`--shapes` states the batch, 4." in text
    elsewhere = dataclasses.replace(
        readme, params=dataclasses.replace(params, compute_capability="8.0")
    )
    assert "libnvinfer-bin" in bundles.describe(elsewhere)
    assert all(
        "import --device NAME" in " ".join(bundles.describe(each).split())
        for each in (readme, elsewhere)
    )


@pytest.mark.parametrize("name", ["x\n\n# y", "x\x1b[2J", "x\u202ey"])
def test_an_input_that_no_command_can_name_is_refused(tmp_path: Path, name: str) -> None:
    """A line break or a control character in the name of an input does not get into the README."""
    edge = given_models.Edge(name=name, shape=("batch", 3, 64, 96))
    (tmp_path / "model.onnx").write_bytes(given_models.onnx_bytes(inputs=(edge,)))
    with pytest.raises(InputError, match=r"input 'x.* has control characters in its name") as error:
        bundles.shapes_option(tmp_path / "model.onnx", (1, 4, 8))
    assert str(error.value).splitlines()[0].isprintable()


def test_a_device_that_calibrates_gets_the_images(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """If the device calibrates, the bundle holds the images: the calibration cache does not exist
    yet.
    """
    folder = bundle(workspace, tools, CALIBRATED, tmp_path / "away")
    told = json.loads((folder / "bundle.json").read_text())
    assert {"pack_calibration", "export_ultralytics"} <= set(tools.ran)
    assert "quantize_onnx" not in tools.ran
    assert {"pictures.npy", "cudart.py"} <= told["files"].keys()
    assert told["request"]["cudart"] == "cudart.py"
    assert (told["request"]["pictures"], told["request"]["typed"]) == ("pictures.npy", False)
    assert told["steps"]["calibrate_engine"]["key"]
    assert told["steps"]["build_engine"]["key"] == ""


@pytest.mark.parametrize("build", [JETSON, CALIBRATED])
@pytest.mark.parametrize("pack", [False, True])
def test_what_comes_back_is_shipped_without_building(
    recipe: Path,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    capsys: Capture,
    build: str,
    pack: bool,
) -> None:
    """An imported engine is published without a GPU on this machine."""
    folder = bundle(workspace, tools, build, tmp_path / "away")
    result = build_there(folder)
    (result / "benchmark.json").write_text(json.dumps(TRTEXEC))
    given = folder
    if pack:
        given = tmp_path / "back.tar.gz"
        with tarfile.open(given, "w:gz") as archive:
            archive.add(result, "result")
    assert main(["import", str(given)]) == 0
    golden.check("import-engine", capsys.readouterr().out.replace(build, "BUILD"))
    status, ran = ship(workspace, tools, build)
    assert status == "built"
    assert "package_engine" in ran
    assert {"build_engine", "calibrate_engine"}.isdisjoint(ran)
    manifest = json.loads(
        (workspace / "build" / Path(*build.split("@")) / "manifest.json").read_text()
    )
    steps = {step["module"]: step for step in manifest["steps"]}
    engine = hashlib.sha256(b"an engine").hexdigest()
    assert steps["build_engine"]["outputs"]["engine"] == engine
    figures = json.loads((workspace / "measurements" / f"{build}.json").read_text())
    assert (figures["measurements"][0]["sha256"], figures["measurements"][0]["mean_ms"]) == (
        engine,
        3.0,
    )
    kept = cache_root() / "timing-caches" / "tensorrt-10.3.0.30-8.7.cache"
    assert kept.read_bytes() == b"many timings"
    shutil.rmtree(result)
    again = bundle(workspace, tools, build, folder)
    assert (again / "timing-caches" / kept.name).read_bytes() == b"many timings"


def _damage(result: Path, build: str) -> None:
    (result / "model.engine").write_bytes(b"an engime")


def _cut(result: Path, build: str) -> None:
    (result / "model.engine").unlink()


def _unsigned(result: Path, build: str) -> None:
    (result / "result.json").unlink()


def _half(result: Path, build: str) -> None:
    text = (result / "result.json").read_text()
    (result / "result.json").write_text(text[: len(text) // 2])


def _outside(result: Path, build: str) -> None:
    told = json.loads((result / "result.json").read_text())
    told["files"]["../../recipes/tags.yaml"] = told["bundle"]
    (result / "result.json").write_text(json.dumps(told))


def _linked(result: Path, build: str) -> None:
    (result / "model.engine").rename(result / "elsewhere")
    (result / "model.engine").symlink_to("elsewhere")


def _newer(result: Path, build: str) -> None:
    told = json.loads((result / "result.json").read_text())
    (result / "result.json").write_text(json.dumps({**told, "format": 2}))


def _another_version(result: Path, build: str) -> None:
    (result / "facts.json").write_text(json.dumps({**FACTS, "version": "10.7.0.1"}))
    sign(result, build)


def _another_gpu(result: Path, build: str) -> None:
    (result / "facts.json").write_text(json.dumps({**FACTS, "compute_capability": "8.6"}))
    sign(result, build)


def _another_library(result: Path, build: str) -> None:
    facts = {**FACTS, "library": "tensorrt-rtx", "version": "1.7.1.116", "compute_capability": ""}
    (result / "facts.json").write_text(json.dumps({**facts, "gpu": ""}))
    sign(result, build)


def _no_facts(result: Path, build: str) -> None:
    (result / "facts.json").write_text(json.dumps({**FACTS, "outputs": []}))
    sign(result, build)


def _hostile_gpu(result: Path, build: str) -> None:
    (result / "facts.json").write_text(json.dumps({**FACTS, "gpu": "Orin\n::error::x"}))
    sign(result, build)


def _no_number(result: Path, build: str) -> None:
    told = json.loads((result / "result.json").read_text())
    (result / "result.json").write_text(json.dumps({**told, "seconds": float("nan")}))


def _unknown(result: Path, build: str) -> None:
    told = json.loads((result / "bundle.json").read_text())
    (result / "bundle.json").write_text(json.dumps({**told, "build": "cats@jetson-orin"}))
    sign(result, "cats@jetson-orin")


def _no_figures(result: Path, build: str) -> None:
    (result / "benchmark.json").write_text("fast")


DAMAGES: dict[str, Callable[[Path, str], None]] = {
    "damaged": _damage,
    "cut": _cut,
    "unsigned": _unsigned,
    "half": _half,
    "outside": _outside,
    "linked": _linked,
    "newer": _newer,
    "another-version": _another_version,
    "another-gpu": _another_gpu,
    "another-library": _another_library,
    "no-facts": _no_facts,
    "hostile-gpu": _hostile_gpu,
    "no-number": _no_number,
    "unknown": _unknown,
    "no-figures": _no_figures,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_whole_or_of_elsewhere_is_refused(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture, damage: str
) -> None:
    """Incomplete or foreign results are refused."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    DAMAGES[damage](build_there(folder), JETSON)
    capsys.readouterr()
    assert main(["import", str(folder)]) == 2
    golden.check(f"import-engine-{damage}", capsys.readouterr().err, folder)
    status, _ = ship(workspace, tools, JETSON)
    assert status == "waiting for TensorRT 10.3, compute capability 8.7"
    assert not (workspace / "measurements").exists()


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (
            "workspace",
            "  - jetson-orin\n",
            "  - {target: jetson-orin, tensorrt: {workspace_gib: 3}}\n",
        ),
        (
            "scheme",
            "  - jetson-orin\n",
            "  - {target: jetson-orin, quantization: {scheme: float16}}\n",
        ),
        (
            "calibrator",
            "  - jetson-orin\n",
            "  - {target: jetson-orin, tensorrt: {int8: calibrator}}\n",
        ),
    ],
)
def test_a_recipe_that_changed_meanwhile(
    recipe: Path,
    workspace: Path,
    tools: StandIn,
    tmp_path: Path,
    capsys: Capture,
    name: str,
    old: str,
    new: str,
) -> None:
    """A result for an earlier version of the recipe is refused."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    build_there(folder)
    recipe.write_text(recipe.read_text().replace(old, new))
    capsys.readouterr()
    assert main(["import", str(folder)]) == 2
    golden.check(f"import-engine-changed-{name}", capsys.readouterr().err, folder)


def test_a_step_before_the_engine_that_has_not_run_is_named_with_the_change(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """Where a step before the engine is stale, the message names what changed, as `plan` does."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    build_there(folder)
    text = recipe.read_text()
    assert "count: 3" in text
    recipe.write_text(text.replace("count: 3", "count: 2"))
    capsys.readouterr()
    assert main(["import", str(folder)]) == 1
    golden.check("import-engine-stale-calibration", capsys.readouterr().err, folder)


def test_a_cache_that_was_lost_is_reported(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """A lost calibration cache is reported as such, not as another calibration."""
    folder = bundle(workspace, tools, CALIBRATED, tmp_path / "away")
    result = build_there(folder)
    (result / "calibration.cache").unlink()
    sign(result, CALIBRATED)
    capsys.readouterr()
    assert main(["import", str(folder)]) == 2
    golden.check("import-engine-no-cache", capsys.readouterr().err, folder)


def test_a_network_that_fails_the_signal_check_is_not_bundled(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """No bundle is made of a network that fails the signal check."""
    tools.red.add("examine_onnx")
    with pytest.raises(
        Rejected, match="rejected by signal: there is nothing to bundle: examine_onnx says no"
    ):
        bundle(workspace, tools, JETSON, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_data_that_changed_meanwhile(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """If the data changed, `import` first makes the new files, then compares."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    build_there(folder)
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    capsys.readouterr()
    assert main(["import", str(folder)]) == 1
    golden.check("import-engine-not-made", capsys.readouterr().err, folder)
    bundle(workspace, tools, JETSON, tmp_path / "another")
    capsys.readouterr()
    assert main(["import", str(folder)]) == 2
    golden.check("import-engine-changed-training", capsys.readouterr().err, folder)


def test_wrong_folders_and_builds(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """Wrong folders and builds are refused with one sentence each."""
    said = []
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "thesis.txt").write_text("mine")
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    text = recipe.read_text()
    recipe.write_text(text + "  - xiao-esp32s3\n")
    capsys.readouterr()
    for words in (
        ["import", str(empty)],
        ["import", str(tmp_path / "absent")],
        ["import", str(folder)],
        ["bundle", "tags@jetson"],
        ["bundle", "tags@xiao-esp32s3"],
        ["bundle", "tags@nvidia-local"],
        ["bundle", JETSON, "--out", str(full)],
    ):
        assert main(words) == 2
        said.append(capsys.readouterr().err)
    (folder / "notes.txt").write_text("mine")
    assert main(["bundle", JETSON, "--out", str(folder)]) == 2
    build_there(folder)
    assert main(["bundle", JETSON, "--out", str(folder)]) == 2
    golden.check("bundle-refused", "".join([*said, capsys.readouterr().err]), tmp_path)


def test_what_others_put_into_a_bundle_is_not_lost(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """A bundle is written again over itself and leftovers of build.py, and never over a person's files
    or a result, not even one that came while its steps ran.
    """
    folder = bundle(workspace, tools, CALIBRATED, tmp_path / "away")
    (folder / ".work").mkdir()
    (folder / ".result.11").mkdir()
    for name in (".DS_Store", "Thumbs.db", "._build.py"):
        (folder / name).write_text("")
    assert bundle(workspace, tools, JETSON, folder) == folder
    assert not [each for each in folder.iterdir() if each.suffix in {".npy", ".db"}]
    assert not list(folder.glob(".*"))
    own = [folder / f"notes{number}.txt" for number in range(5)]
    for path in own:
        path.write_text("mine")
    with pytest.raises(
        InputError, match=r": notes0\.txt, notes1\.txt, notes2\.txt, … \(5 in all\)"
    ):
        bundle(workspace, tools, JETSON, folder)
    for path in own:
        path.unlink()
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    with pytest.raises(InputError, match="result exists"):
        bundle(workspace, BuiltMeanwhile(folder), JETSON, folder)
    assert (folder / "result" / "model.engine").read_bytes() == b"an engine"
    assert not list(folder.parent.glob(".*"))


class BuiltMeanwhile(StandIn):
    """Stand-in tools; an engine is built in a folder while they run."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        build_there(self.folder)
        return super().__call__(command, on_progress)


def test_an_empty_folder_is_taken_and_stays(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """An empty folder, such as a mount point, is filled and not replaced; a link to it stays a
    link.
    """
    stick = tmp_path / "stick"
    (stick / "lost+found").mkdir(parents=True)
    (stick / ".buildsys-bundle.1").mkdir()
    (stick / ".DS_Store").write_text("")
    (tmp_path / "link").symlink_to(stick)
    number = stick.stat().st_ino
    bundle(workspace, tools, JETSON, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert stick.stat().st_ino == number
    assert {"bundle.json", "build.py", "model.onnx", "lost+found"} <= {
        path.name for path in stick.iterdir()
    }
    assert [path.name for path in stick.glob(".*")] == [".DS_Store"]


def test_a_red_build_is_not_carried_anywhere(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """A rejected build is not bundled."""
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    ship(workspace, tools, JETSON)
    with pytest.raises(Rejected, match=r"rejected by gate: there is nothing to bundle: .*0\.9"):
        bundle(workspace, tools, JETSON, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_a_record_that_contradicts_a_red_verdict_carries_nothing(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """The gate is evaluated again if the store's record contradicts a rejected verdict."""
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    ship(workspace, tools, JETSON)
    contradict(workspace, tools, "gate", JETSON)
    tools.ran.clear()
    with pytest.raises(Rejected, match=r"rejected by gate: there is nothing to bundle: .*0\.9"):
        bundle(workspace, tools, JETSON, tmp_path / "away")
    assert tools.ran == ["gate"]
    assert not (tmp_path / "away").exists()


@pytest.mark.slow
def test_build_py_looks_before_it_builds(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """build.py checks the machine first and fails with one sentence."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    command = [sys.executable, str(folder / "build.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    expected = "TensorRT 10.3 is missing: it comes with JetPack, as the Debian package python3-libnvinfer\n"
    assert done.stderr == expected
    assert not (folder / "result").exists()
    assert not (folder / ".work").exists()
    apart = (folder / "separate_process.py").read_bytes()
    (folder / "separate_process.py").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "separate_process.py" in done.stderr
    assert done.stderr.count("\n") == 1
    (folder / "separate_process.py").write_bytes(apart)
    (folder / "model.onnx").write_bytes(b"another network")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "not as it was bundled: model.onnx; copy the bundle again\n"
    (folder / "bundle.json").unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("the bundle cannot be read")
    assert done.stderr.count("\n") == 1


LIBRARIES = {
    "raises": "raise RuntimeError('no licence')",
    "leaves": "raise SystemExit",
    "nameless": "",
    "aborts": "import os; os.abort()",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_build_py_tells_what_its_library_does(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path, library: str
) -> None:
    """A fault or an abort of the library is reported with one sentence."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "tensorrt.py").write_text(LIBRARIES[library] + "\n")
    done = subprocess.run(
        [str(python), str(folder / "build.py")], capture_output=True, text=True, check=False
    )
    assert done.returncode == (1 if library in ("aborts", "killed") else 4)
    golden.check(f"build-py-{library}", done.stderr, site)
    assert not (folder / ".work").exists()


@pytest.mark.slow
def test_build_py_says_what_it_does(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """`build.py --help` prints what it does and builds nothing."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    command = [sys.executable, str(folder / "build.py")]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "does not make what ships" in done.stdout
    assert subprocess.run([*command, "fast"], capture_output=True, check=False).returncode == 2


@pytest.mark.slow
def test_build_py_that_is_interrupted(
    recipe: Path, workspace: Path, tools: StandIn, tmp_path: Path
) -> None:
    """An interruption prints one line, although the builder gets the signal, too."""
    folder = bundle(workspace, tools, JETSON, tmp_path / "away")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", python.parents[1]], check=True)
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (site / "tensorrt.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(600)\n")
    process = subprocess.Popen(
        [str(python), str(folder / "build.py")],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "here" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=180)
    assert (process.returncode, errors) == (
        130,
        "interrupted: `python3 build.py` begins anew\n",
    )
    assert not (folder / ".work").exists()
